;; Counts in its memory.
(module
  (memory (export "memory") 1)

  (func (export "count") (param $rounds i32) (result i32)
    (i32.store (i32.const 0) (i32.const 0))
    (loop $again
      (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
      (br_if $again (i32.lt_u (i32.load (i32.const 0)) (local.get $rounds))))
    (i32.load (i32.const 0))))
