;; A cleared page reads zero: not the data segment that was there, also after a write elsewhere.

(module
  (memory 2 2)
  (data (i32.const 0) "first page")
  (data (i32.const 65536) "second page")
  (data $kept "kept")
  (func (export "discard") (param i32 i32) (memory.discard (local.get 0) (local.get 1)))
  (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func (export "store") (param i32) (i32.store8 (local.get 0) (i32.const 1)))
  (func (export "init") (param i32) (memory.init $kept (local.get 0) (i32.const 0) (i32.const 4)))
  (func (export "drop") (data.drop $kept)))

(assert_return (invoke "load" (i32.const 65536)) (i32.const 0x73))
(assert_return (invoke "discard" (i32.const 65536) (i32.const 65536)))
(assert_return (invoke "load" (i32.const 65536)) (i32.const 0))
(assert_return (invoke "load" (i32.const 0)) (i32.const 0x66))
(invoke "store" (i32.const 65540))
(assert_return (invoke "load" (i32.const 65536)) (i32.const 0))
(assert_return (invoke "load" (i32.const 65540)) (i32.const 1))

;; A passive segment is the module's, not the memory's: it can be put there again.
(invoke "init" (i32.const 65536))
(assert_return (invoke "load" (i32.const 65536)) (i32.const 0x6b))
(assert_return (invoke "discard" (i32.const 0) (i32.const 131072)))
(assert_return (invoke "load" (i32.const 65536)) (i32.const 0))
(assert_return (invoke "load" (i32.const 0)) (i32.const 0))
(invoke "init" (i32.const 0))
(assert_return (invoke "load" (i32.const 3)) (i32.const 0x74))
(invoke "drop")
(assert_trap (invoke "init" (i32.const 0)) "out of bounds memory access")
