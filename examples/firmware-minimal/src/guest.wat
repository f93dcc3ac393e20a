;; Requests a number of the host, and adds one that is in its memory.
(module
  (import "host" "double" (func $double (param i32) (result i32)))
  (memory 1)
  (data (i32.const 8) "\02\00\00\00")
  (func (export "answer") (result i32)
    (i32.add (call $double (i32.const 20)) (i32.load (i32.const 8)))))
