;; Computes on pages that it wrote at the start.
(module
  (memory (export "memory") 2 65536)
  (func (export "start")
    (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)))
  (func (export "work") (result i32)
    (local $at i32) (local $sum i32)
    (loop $next
      (i32.store8 (local.get $at) (i32.add (i32.load8_u (local.get $at)) (i32.const 1)))
      (local.set $sum (i32.add (local.get $sum) (i32.load8_u (local.get $at))))
      (br_if $next
        (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (i32.const 65536))))
    (local.get $sum))
  (func (export "touch_another") (result i32)
    (i32.store (i32.const 70000) (i32.const 5))
    (i32.load (i32.const 70000))))
