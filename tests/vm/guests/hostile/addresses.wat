;; Memories without a maximum, which would have all addresses that there are.
(module
  (memory i64 1) (memory i64 0) (memory i64 0) (memory i64 2) (memory i64 0) (memory i64 0)
  (memory i64 0) (memory i64 0) (memory i64 0) (memory i64 0) (memory i64 0) (memory i64 0)
  (func (export "run")
    (loop $more
      (drop (memory.grow 1 (i64.const 1)))
      (drop (memory.grow 11 (i64.const 16777216)))
      (br $more))))
