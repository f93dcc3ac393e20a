;; One Wasm page, which may become 65,536. It writes to its memory and reads back.
(module
  (memory (export "memory") 1)
  (func (export "run") (param $value i32) (result i32)
    (i32.store (i32.const 1024) (local.get $value))
    (i32.load (i32.const 1024))))
