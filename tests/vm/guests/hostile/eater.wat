;; Writes to every page of a GiB.
(module
  (memory (export "memory") 16384)
  (func (export "run") (local $at i32)
    (loop $next
      (i32.store (local.get $at) (i32.const 1))
      (br_if $next
        (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4096))) (i32.const 0x40000000))))))
