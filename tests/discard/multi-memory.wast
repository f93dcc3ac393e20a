;; The instruction names its memory; the imports act on memory 0.

(module
  (import "palimpsest" "clear_pages" (func $clear_pages (param i32 i32) (result i32)))
  (memory $a 2 2)
  (memory $b i64 3 3)
  (memory $c 1 1)
  (func (export "fill")
    (memory.fill $a (i32.const 0) (i32.const 0xaa) (i32.const 131072))
    (memory.fill $b (i64.const 0) (i32.const 0xbb) (i64.const 196608))
    (memory.fill $c (i32.const 0) (i32.const 0xcc) (i32.const 65536)))
  (func (export "discard_a") (param i32 i32) (memory.discard $a (local.get 0) (local.get 1)))
  (func (export "discard_b") (param i64 i64) (memory.discard $b (local.get 0) (local.get 1)))
  (func (export "discard_c") (param i32 i32) (memory.discard $c (local.get 0) (local.get 1)))
  (func (export "clear_pages") (param i32 i32) (result i32)
    (i32.le_u (call $clear_pages (local.get 0) (local.get 1)) (i32.const 1)))
  ;; The first bytes of a and b, the second page's of a and b, and the first of c.
  (func (export "look") (result i32 i32 i32 i32 i32)
    (i32.load8_u $a (i32.const 0)) (i32.load8_u $b (i64.const 0))
    (i32.load8_u $a (i32.const 65536)) (i32.load8_u $b (i64.const 65536))
    (i32.load8_u $c (i32.const 0))))

(invoke "fill")
(assert_return (invoke "discard_b" (i64.const 65536) (i64.const 131072)))
(assert_return (invoke "look")
  (i32.const 0xaa) (i32.const 0xbb) (i32.const 0xaa) (i32.const 0) (i32.const 0xcc))
(assert_return (invoke "discard_a" (i32.const 0) (i32.const 65536)))
(assert_return (invoke "look")
  (i32.const 0) (i32.const 0xbb) (i32.const 0xaa) (i32.const 0) (i32.const 0xcc))

;; Each has its own bounds.
(assert_trap (invoke "discard_a" (i32.const 131072) (i32.const 65536)) "out of bounds memory access")
(assert_trap (invoke "discard_b" (i64.const 196608) (i64.const 65536)) "out of bounds memory access")
(assert_trap (invoke "discard_c" (i32.const 65536) (i32.const 65536)) "out of bounds memory access")

(invoke "fill")
(assert_return (invoke "clear_pages" (i32.const 0) (i32.const 2)) (i32.const 1))
(assert_return (invoke "look")
  (i32.const 0) (i32.const 0xbb) (i32.const 0) (i32.const 0xbb) (i32.const 0xcc))
(assert_trap (invoke "clear_pages" (i32.const 0) (i32.const 3)) "out of bounds memory access")
(assert_return (invoke "discard_c" (i32.const 0) (i32.const 65536)))
(assert_return (invoke "look")
  (i32.const 0) (i32.const 0xbb) (i32.const 0) (i32.const 0xbb) (i32.const 0))
