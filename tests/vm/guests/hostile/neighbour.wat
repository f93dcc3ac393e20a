;; An honest guest. A unit of its work fills a Wasm page with numbers, adds them up, clears the
;; page, adds the pages that it keeps, and reports the sum.
(module
  (import "palimpsest" "clear_pages" (func $clear_pages (param i32 i32) (result i32)))
  (import "host" "unit" (func $unit (param i64)))
  (memory (export "memory") 4 4)

  ;; Adds up one word of each page from 64 KiB to 192 KiB.
  (func $kept (result i64)
    (local $at i32) (local $sum i64)
    (local.set $at (i32.const 65536))
    (loop $next
      (local.set $sum (i64.add (local.get $sum) (i64.load (local.get $at))))
      (br_if $next
        (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4096))) (i32.const 196608))))
    (local.get $sum))

  (func $work (result i64)
    (local $at i32) (local $seed i64) (local $sum i64)
    (local.set $seed (i64.const 0x2545f4914f6cdd1d))
    (local.set $sum (call $kept))
    (loop $next
      (local.set $seed (i64.xor (local.get $seed) (i64.shl (local.get $seed) (i64.const 13))))
      (local.set $seed (i64.xor (local.get $seed) (i64.shr_u (local.get $seed) (i64.const 7))))
      (local.set $seed (i64.xor (local.get $seed) (i64.shl (local.get $seed) (i64.const 17))))
      (local.set $sum (i64.add (local.get $sum) (i64.load (local.get $at))))
      (i64.store (local.get $at) (local.get $seed))
      (local.set $sum (i64.add (local.get $sum) (i64.load (local.get $at))))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 64))) (i32.const 65536))))
    (drop (call $clear_pages (i32.const 0) (i32.const 1)))
    (local.get $sum))

  (func $keep
    (local $at i32)
    (local.set $at (i32.const 65536))
    (loop $next
      (i64.store (local.get $at) (i64.extend_i32_u (i32.shr_u (local.get $at) (i32.const 12))))
      (br_if $next
        (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4096))) (i32.const 196608)))))

  (func (export "run")
    (call $keep)
    (loop $again
      (call $unit (call $work))
      (br $again)))

  (func (export "once") (result i64)
    (call $keep)
    (call $work)))
