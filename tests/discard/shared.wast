;; A memory of several instances: what one clears reads zero in the other, and growth moves the
;; bounds of both.

(module $owner
  (memory (export "memory") 2 4)
  (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func (export "store") (param i32) (i32.store8 (local.get 0) (i32.const 7)))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "discard") (param i32 i32) (memory.discard (local.get 0) (local.get 1))))
(register "owner" $owner)

(module $user
  (import "owner" "memory" (memory 1))
  (import "palimpsest" "clear_pages" (func $clear_pages (param i32 i32) (result i32)))
  (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func (export "store") (param i32) (i32.store8 (local.get 0) (i32.const 9)))
  (func (export "clear_pages") (param i32 i32) (result i32)
    (i32.le_u (call $clear_pages (local.get 0) (local.get 1)) (i32.const 1)))
  (func (export "discard") (param i32 i32) (memory.discard (local.get 0) (local.get 1))))

(invoke $owner "store" (i32.const 65536))
(assert_return (invoke $user "load" (i32.const 65536)) (i32.const 7))
(assert_return (invoke $user "clear_pages" (i32.const 1) (i32.const 1)) (i32.const 1))
(assert_return (invoke $owner "load" (i32.const 65536)) (i32.const 0))

(invoke $user "store" (i32.const 3))
(assert_return (invoke $owner "discard" (i32.const 0) (i32.const 65536)))
(assert_return (invoke $user "load" (i32.const 3)) (i32.const 0))

(assert_trap (invoke $user "discard" (i32.const 131072) (i32.const 65536)) "out of bounds memory access")
(assert_return (invoke $owner "grow" (i32.const 1)) (i32.const 2))
(invoke $owner "store" (i32.const 131072))
(assert_return (invoke $user "discard" (i32.const 131072) (i32.const 65536)))
(assert_return (invoke $owner "load" (i32.const 131072)) (i32.const 0))
(assert_return (invoke $user "clear_pages" (i32.const 3) (i32.const 0)) (i32.const 1))
(assert_trap (invoke $user "clear_pages" (i32.const 3) (i32.const 1)) "out of bounds memory access")
