;; Writes to four 4 KiB pages in two Wasm pages, then clears the first Wasm page, with three of
;; them.
(module
  (import "palimpsest" "clear_pages" (func $clear (param i32 i32) (result i32)))
  (memory 2 16)
  (func $touch (param i32) (i32.store8 (local.get 0) (i32.const 1)))
  (func (export "_start")
    (call $touch (i32.const 0))
    (call $touch (i32.const 4096))
    (call $touch (i32.const 65535))
    (call $touch (i32.const 65536))
    (drop (call $clear (i32.const 0) (i32.const 1)))))
