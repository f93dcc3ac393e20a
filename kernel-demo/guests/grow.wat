;; Grows its memory. Step 5 of the tour.
(module
  (memory (export "memory") 1 65536)
  (func (export "grow") (param $wasm_pages i32) (result i32)
    (memory.grow (local.get $wasm_pages))))
