;; Its second import is not defined.
(module
  (import "env" "again" (func (param i32) (result i32)))
  (import "env" "missing" (func))
  (memory 1))
