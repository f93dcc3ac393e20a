;; One function for each of several traps.
(module
  (memory 1 1)
  (func $fail unreachable)
  (func (export "unreachable") call $fail)
  (func (export "divide") (param i32) (result i32) (i32.div_s (i32.const 1) (local.get 0)))
  (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
  (func $recurse (export "recurse") call $recurse)
  (func (export "spin") (loop br 0)))
