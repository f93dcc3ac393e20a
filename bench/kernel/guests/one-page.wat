;; One Wasm page and never more: the smallest guest that does something.
(module
  (memory (export "memory") 1 1)
  (func (export "run") (param $value i32) (result i32)
    (i32.store (i32.const 1024) (local.get $value))
    (i32.load (i32.const 1024))))
