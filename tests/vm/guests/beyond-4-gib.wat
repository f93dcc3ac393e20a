;; 1 TiB and one Wasm page more.
(module
  (import "palimpsest" "clear_pages" (func $clear_pages (param i64 i64) (result i32)))
  (memory (export "memory") i64 0x1000001 0x1000002)
  (func (export "store") (param i64 i64) (i64.store (local.get 0) (local.get 1)))
  (func (export "load") (param i64) (result i64) (i64.load (local.get 0)))
  (func (export "grow") (param i64) (result i64) (memory.grow (local.get 0)))
  (func (export "clear") (param i64 i64) (result i32)
    (call $clear_pages (local.get 0) (local.get 1))))
