;; Grows by one Wasm page and writes to it, until growing fails.
(module
  (memory (export "memory") 0 65536)
  (func (export "run") (result i32)
    (local $old i32)
    (loop $next
      (local.set $old (memory.grow (i32.const 1)))
      (if (i32.ne (local.get $old) (i32.const -1))
        (then
          (i32.store (i32.shl (local.get $old) (i32.const 16)) (i32.const 1))
          (br $next))))
    (memory.size)))
