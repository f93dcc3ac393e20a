;; Bulk instructions of any length, each in a memory that is larger than what backs it.
(module
  (memory (export "memory") i64 16777216 16777216)

  (func (export "fill") (param $len i64)
    (memory.fill (i64.const 0) (i32.const 1) (local.get $len)))

  ;; Copies zeros to lower and to higher addresses. Each page that is written takes a frame.
  (func (export "copy-down") (param $len i64)
    (memory.copy (i64.const 0) (i64.const 65537) (local.get $len)))
  (func (export "copy-up") (param $len i64)
    (memory.copy (i64.const 65537) (i64.const 0) (local.get $len))))
