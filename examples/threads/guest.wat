;; A guest whose result depends on every page that it has written, so that a page that another
;; thread's guest got, or that was lost, changes it.
(module
  (import "palimpsest" "clear_pages" (func $clear_pages (param $start i32) (param $count i32) (result i32)))
  (memory (export "memory") 0 16384)

  ;; Grows by 16 Wasm pages if the memory is empty. Writes the product of `seed` and a number to
  ;; every 4 KiB, adds up what it reads there, and clears the memory. Returns 0 if the memory was
  ;; not zero at the start.
  (func (export "round") (param $seed i64) (result i64)
    (local $address i32) (local $number i64) (local $sum i64)
    (if (i32.eqz (memory.size)) (then (drop (memory.grow (i32.const 16)))))
    (loop $write
      (if (i64.ne (i64.load (local.get $address)) (i64.const 0)) (then (return (i64.const 0))))
      (local.set $number (i64.add (local.get $number) (i64.const 1)))
      (i64.store (local.get $address) (i64.mul (local.get $seed) (local.get $number)))
      (local.set $address (i32.add (local.get $address) (i32.const 4096)))
      (br_if $write (i32.lt_u (local.get $address) (i32.const 0x100000))))
    (loop $read
      (local.set $address (i32.sub (local.get $address) (i32.const 4096)))
      (local.set $sum (i64.add (local.get $sum) (i64.load (local.get $address))))
      (br_if $read (local.get $address)))
    (drop (call $clear_pages (i32.const 0) (i32.const 16)))
    (local.get $sum)))
