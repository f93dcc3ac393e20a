;; Grows by one Wasm page, again and again, past the maximum.
(module
  (memory (export "memory") 0)
  (func (export "run")
    (loop $more
      (drop (memory.grow (i32.const 1)))
      (br $more))))
