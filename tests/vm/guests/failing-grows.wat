;; A million failing `memory.grow` in one call.
(module
  (memory 1 1)
  (table 1 1 funcref)
  (func (export "memory") (result i32)
    (local $left i32) (local $failed i32)
    (local.set $left (i32.const 1000000))
    (loop $again
      (local.set $failed (i32.sub (local.get $failed) (memory.grow (i32.const 1))))
      (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (local.get $failed))
  (func (export "table") (result i32)
    (local $left i32) (local $failed i32)
    (local.set $left (i32.const 1000000))
    (loop $again
      (local.set $failed (i32.sub (local.get $failed) (table.grow (ref.null func) (i32.const 1))))
      (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (local.get $failed)))
