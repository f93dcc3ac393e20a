;; Data in three pages of 4 KiB, in two Wasm pages, and a page of it that is written at run time.
(module
  (memory (export "memory") 4)
  (data (i32.const 0) "one")
  (data (i32.const 4096) "two")
  (data (i32.const 65536) "three")
  (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func (export "store") (param i32 i32) (i32.store8 (local.get 0) (local.get 1))))
