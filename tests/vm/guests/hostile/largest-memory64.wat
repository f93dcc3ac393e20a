;; The largest maximum that a 64-bit memory can declare.
(module
  (memory (export "memory") i64 2 0x1000000000000)
  (func (export "run") (result i32)
    (local $grown i64)
    (local.set $grown (memory.grow (i64.const 3)))
    (i32.or (i64.eq (local.get $grown) (i64.const 2)) (i64.eq (local.get $grown) (i64.const -1)))))
