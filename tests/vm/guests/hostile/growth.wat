;; Growth, far and often.
(module
  (memory (export "memory") i64 1 33554432)   ;; 2 TiB
  (func (export "far") (param $pages i64) (result i64)
    (drop (memory.grow (local.get $pages)))
    (memory.size))
  (func (export "again") (param $pages i64)
    (loop $more
      (drop (memory.grow (local.get $pages)))
      (i64.store (i64.sub (i64.shl (memory.size) (i64.const 16)) (i64.const 8)) (i64.const 1))
      (br $more)))
  (func (export "refused_forever")
    (loop $more
      (drop (memory.grow (i64.const -1)))
      (drop (memory.grow (i64.const 33554432)))
      (br $more))))
