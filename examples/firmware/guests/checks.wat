;; A guest with a function for each thing that firmware may want of one.
(module
  (import "host" "double" (func $host_double (param i32) (result i32)))
  (import "palimpsest" "clear_pages" (func $clear_pages (param i32 i32) (result i32)))
  (type $unary (func (param i32) (result i32)))
  (memory (export "memory") 1 3)
  (data (i32.const 1000) "palimpsest")
  (data $passive "firmware")
  (table 3 4 funcref)
  (elem (i32.const 0) $negate $square)

  (func $negate (type $unary) (i32.sub (i32.const 0) (local.get 0)))
  (func $square (type $unary) (i32.mul (local.get 0) (local.get 0)))

  (func (export "hypotenuse") (param f64 f64) (result f64)
    (f64.sqrt (f64.add (f64.mul (local.get 0) (local.get 0)) (f64.mul (local.get 1) (local.get 1)))))

  (func $fib (export "fib") (param i32) (result i32)
    (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
      (then (local.get 0))
      (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                     (call $fib (i32.sub (local.get 0) (i32.const 2)))))))

  ;; Calls an entry of the table, which traps if there is none.
  (func (export "indirect") (param $entry i32) (param $value i32) (result i32)
    (call_indirect (type $unary) (local.get $value) (local.get $entry)))

  ;; Adds an entry to the table. Returns the old size, or -1.
  (func (export "grow_table") (result i32) (table.grow (ref.null func) (i32.const 1)))

  (func (export "call_host") (param i32) (result i32) (call $host_double (local.get 0)))

  ;; Returns the sum of the bytes of the active segment.
  (func (export "sum_active") (result i32) (call $sum (i32.const 1000) (i32.const 10)))

  ;; Copies the passive segment, and returns the sum of its bytes.
  (func (export "sum_passive") (result i32)
    (memory.init $passive (i32.const 2000) (i32.const 0) (i32.const 8))
    (call $sum (i32.const 2000) (i32.const 8)))

  (func $sum (param $start i32) (param $len i32) (result i32) (local $sum i32)
    (loop $next
      (local.set $sum (i32.add (local.get $sum) (i32.load8_u (local.get $start))))
      (local.set $start (i32.add (local.get $start) (i32.const 1)))
      (br_if $next (local.tee $len (i32.sub (local.get $len) (i32.const 1)))))
    (local.get $sum))

  ;; Adds a page to the memory. Returns the old size, or -1.
  (func (export "grow") (result i32) (memory.grow (i32.const 1)))

  ;; Writes to page 1 and clears it. Returns what is there afterwards, plus the result of the clear.
  (func (export "clear") (result i32)
    (i32.store (i32.const 65536) (i32.const 77))
    (i32.add (i32.shl (call $clear_pages (i32.const 1) (i32.const 1)) (i32.const 8))
             (i32.load (i32.const 65536))))

  ;; The same with the instruction.
  (func (export "discard") (result i32)
    (i32.store (i32.const 65536) (i32.const 77))
    (memory.discard (i32.const 65536) (i32.const 65536))
    (i32.load (i32.const 65536)))

  (func (export "read") (param i32) (result i32) (i32.load (local.get 0))))
