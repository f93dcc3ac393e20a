;; Data in three 4 KiB pages of two Wasm pages. One of them is also written at run time.
(module
  (memory (export "memory") 4)
  (data (i32.const 0) "one")
  (data (i32.const 4096) "two")
  (data (i32.const 65536) "three")
  (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func (export "store") (param i32 i32) (i32.store8 (local.get 0) (local.get 1))))
