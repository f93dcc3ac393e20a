;; Memories with pages of one byte (custom-page-sizes proposal): every range is aligned, and no byte
;; outside of it changes.

(module
  (import "palimpsest" "clear_pages" (func $clear_pages (param i32 i32) (result i32)))
  (memory 20000 30000 (pagesize 1))
  (func (export "fill") (memory.fill (i32.const 0) (i32.const 0xaa) (memory.size)))
  (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "clear_pages") (param i32 i32) (result i32)
    (i32.le_u (call $clear_pages (local.get 0) (local.get 1)) (i32.const 1)))
  (func (export "discard") (param i32 i32) (memory.discard (local.get 0) (local.get 1)))
  (func (export "count") (result i32) (local $at i32) (local $count i32)
    (loop $next
      (local.set $count
        (i32.add (local.get $count) (i32.ne (i32.load8_u (local.get $at)) (i32.const 0))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (memory.size))))
    (local.get $count)))

(invoke "fill")
;; Within one page of the host, across the border of two, and with whole ones in the middle.
(assert_return (invoke "discard" (i32.const 10) (i32.const 5)))
(assert_return (invoke "count") (i32.const 19995))
(assert_return (invoke "load" (i32.const 9)) (i32.const 0xaa))
(assert_return (invoke "load" (i32.const 10)) (i32.const 0))
(assert_return (invoke "load" (i32.const 14)) (i32.const 0))
(assert_return (invoke "load" (i32.const 15)) (i32.const 0xaa))
(invoke "fill")
(assert_return (invoke "discard" (i32.const 4095) (i32.const 2)))
(assert_return (invoke "count") (i32.const 19998))
(invoke "fill")
(assert_return (invoke "clear_pages" (i32.const 4000) (i32.const 9000)) (i32.const 1))
(assert_return (invoke "count") (i32.const 11000))
(assert_return (invoke "load" (i32.const 3999)) (i32.const 0xaa))
(assert_return (invoke "load" (i32.const 4000)) (i32.const 0))
(assert_return (invoke "load" (i32.const 12999)) (i32.const 0))
(assert_return (invoke "load" (i32.const 13000)) (i32.const 0xaa))

;; The end, which lies in the middle of a page of the host, and what is grown there.
(assert_return (invoke "clear_pages" (i32.const 19000) (i32.const 1000)) (i32.const 1))
(assert_return (invoke "count") (i32.const 10000))
(assert_return (invoke "grow" (i32.const 1000)) (i32.const 20000))
(assert_return (invoke "count") (i32.const 10000))
(invoke "fill")
(assert_return (invoke "clear_pages" (i32.const 0) (i32.const 21000)) (i32.const 1))
(assert_return (invoke "count") (i32.const 0))

;; Bounds, in bytes.
(assert_return (invoke "discard" (i32.const 21000) (i32.const 0)))
(assert_trap (invoke "discard" (i32.const 21001) (i32.const 0)) "out of bounds memory access")
(assert_trap (invoke "discard" (i32.const 20999) (i32.const 2)) "out of bounds memory access")
(assert_trap (invoke "clear_pages" (i32.const 1) (i32.const 0xffffffff)) "out of bounds memory access")
