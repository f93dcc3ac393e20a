;; 65,536 Wasm pages, and nothing else that differs from `page.wat`.
(module
  (memory (export "memory") 65536)
  (func (export "run") (param $value i32) (result i32)
    (i32.store (i32.const 1024) (local.get $value))
    (i32.load (i32.const 1024))))
