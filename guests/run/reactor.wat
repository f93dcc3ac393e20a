;; A reactor of WASI: `_initialize` must be called before any other export.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (global $initialized (mut i32) (i32.const 0))
  (func (export "_initialize") (global.set $initialized (i32.const 42)))
  (func (export "get") (result i32) (global.get $initialized))
  (func (export "leave") (param $code i32) (call $proc_exit (local.get $code))))
