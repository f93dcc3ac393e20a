;; Guests that never return.
(module
  (memory (export "memory") 1)
  (table 1 funcref)
  (type $none (func))
  (elem (i32.const 0) $nothing)
  (func $nothing)
  (func (export "empty") (loop $again (br $again)))
  (func (export "jumps") (local $n i32)
    (loop $again
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (block $a (block $b (block $c
        (br_table $a $b $c $again (i32.and (local.get $n) (i32.const 3))))))
      (br $again)))
  (func (export "divisions") (local $n i64)
    (local.set $n (i64.const 1))
    (loop $again
      (local.set $n (i64.add (i64.rem_u (i64.const -1) (local.get $n)) (i64.const 1)))
      (br $again)))
  (func (export "indirect")
    (loop $again (call_indirect (type $none) (i32.const 0)) (br $again)))
  (func (export "tail") (return_call $tail))
  (func $tail (return_call $tail)))
