;; Ten memories without a maximum, of which each could grow to more than the window.
(module
    (memory (export "memory") i64 1) (memory i64 0) (memory i64 0) (memory i64 0) (memory i64 0)
    (memory i64 0) (memory i64 0) (memory i64 0) (memory i64 0)
    (memory $last i64 1)
    (func (export "touch") (result i32)
        (i64.store $last (i64.const 8) (i64.const 7))
        (i32.load $last (i64.const 8))))
