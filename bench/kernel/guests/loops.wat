;; Small loops, one for each of the things that an interpreter spends its time on. Counted in
;; instructions, they show a dispatch that has become more expensive.
(module
  (memory (export "memory") 16)
  (type $step (func (param i32) (result i32)))
  (table funcref (elem $add $flip))
  (func $add (type $step) (i32.add (local.get 0) (i32.const 3)))
  (func $flip (type $step) (i32.xor (local.get 0) (i32.const 5)))

  ;; Calls: the n-th Fibonacci number by its definition.
  (func $calls (export "calls") (param $n i32) (result i32)
    (if (result i32) (i32.lt_u (local.get $n) (i32.const 2))
      (then (local.get $n))
      (else
        (i32.add
          (call $calls (i32.sub (local.get $n) (i32.const 1)))
          (call $calls (i32.sub (local.get $n) (i32.const 2)))))))

  ;; Branches and arithmetic: n rounds of a linear congruential generator.
  (func (export "arithmetic") (param $n i32) (result i32)
    (local $state i32)
    (loop $round
      (local.set $state
        (i32.add (i32.mul (local.get $state) (i32.const 1664525)) (i32.const 1013904223)))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $round (local.get $n)))
    (local.get $state))

  ;; Loads and stores: n times through the memory's words, each becoming the one before it plus one.
  (func (export "memory_words") (param $n i32) (result i32)
    (local $at i32)
    (loop $pass
      (local.set $at (i32.const 4))
      (loop $word
        (i32.store (local.get $at)
          (i32.add (i32.load (i32.sub (local.get $at) (i32.const 4))) (i32.const 1)))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (br_if $word (i32.lt_u (local.get $at) (i32.const 65536))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $pass (local.get $n)))
    (i32.load (i32.const 65532)))

  ;; Calls through a table: n of them.
  (func (export "table_calls") (param $n i32) (result i32)
    (local $value i32)
    (loop $round
      (local.set $value
        (call_indirect (type $step) (local.get $value) (i32.and (local.get $n) (i32.const 1))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $round (local.get $n)))
    (local.get $value))

  ;; Floats: the n-th partial sum of the harmonic series, in thousandths.
  (func (export "floats") (param $n i32) (result i32)
    (local $sum f64)
    (loop $term
      (local.set $sum
        (f64.add (local.get $sum) (f64.div (f64.const 1) (f64.convert_i32_u (local.get $n)))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $term (local.get $n)))
    (i32.trunc_f64_u (f64.mul (local.get $sum) (f64.const 1000)))))
