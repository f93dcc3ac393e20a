;; Adds up numbers that are kept in registers, while every step touches a page for the first time.
(module
  (memory 4096 4096)
  (func (export "run") (result f64)
    (local $at i32) (local $sum f64) (local $step f64)
    (local.set $step (f64.const 0.5))
    (loop $again
      (f64.store (local.get $at) (local.get $sum))
      (local.set $sum
        (f64.add (f64.add (local.get $sum) (local.get $step)) (f64.load offset=2048 (local.get $at))))
      (br_if $again
        (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4096))) (i32.const 16777216))))
    (local.get $sum)))
