;; A whole life in one call: writes one page in each of its Wasm pages, grows, and clears.
(module
  (import "palimpsest" "clear_pages" (func $clear_pages (param i32 i32) (result i32)))
  (memory (export "memory") 4 1024)
  (data (i32.const 70000) "a data segment")
  (func (export "run") (result i32)
    (i32.store (i32.const 0) (i32.const 1))
    (i32.store (i32.const 65536) (i32.const 2))
    (i32.store (i32.mul (memory.grow (i32.const 600)) (i32.const 65536)) (i32.const 3))
    (i32.store (i32.const 39000000) (i32.const 4))
    (drop (call $clear_pages (i32.const 1) (i32.const 603)))
    (i32.add (i32.load (i32.const 0)) (i32.load (i32.const 65536)))))
