;; A memory of one-byte pages: 5.5 frames.
(module
  (memory (export "memory") 22528 100000 (pagesize 1))
  (func (export "fill") (memory.fill (i32.const 0) (i32.const 0xaa) (memory.size)))
  (func (export "discard") (param i32 i32) (memory.discard (local.get 0) (local.get 1)))
  (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))
