;; One of many guests. Computes on its pages, or does one of the things that must not harm others.
(module
  (import "palimpsest" "clear_pages" (func $clear_pages (param i32 i32) (result i32)))
  (import "host" "sleep_until" (func $sleep_until (param i64)))
  (memory (export "memory") 4 1024)

  ;; Fills 16 pages with numbers derived from `seed`, clears their Wasm page, fills them again, and
  ;; adds them up.
  (func $work (export "work") (param $seed i64) (result i64)
    (local $round i32) (local $address i32) (local $sum i64)
    (loop $again
      (local.set $address (i32.const 0))
      (loop $next
        (local.set $seed (i64.xor (local.get $seed) (i64.shl (local.get $seed) (i64.const 13))))
        (local.set $seed (i64.xor (local.get $seed) (i64.shr_u (local.get $seed) (i64.const 7))))
        (local.set $seed (i64.xor (local.get $seed) (i64.shl (local.get $seed) (i64.const 17))))
        (local.set $sum (i64.add (local.get $sum) (i64.load (local.get $address))))
        (i64.store (local.get $address) (local.get $seed))
        (local.set $sum (i64.add (local.get $sum) (i64.load (local.get $address))))
        (local.set $address (i32.add (local.get $address) (i32.const 64)))
        (br_if $next (i32.lt_u (local.get $address) (i32.const 65536))))
      (drop (call $clear_pages (i32.const 0) (i32.const 1)))
      (br_if $again (i32.lt_u (local.tee $round (i32.add (local.get $round) (i32.const 1))) (i32.const 4))))
    (local.get $sum))

  (func (export "forever")
    (loop $again
      (i32.store (i32.const 65536) (i32.add (i32.load (i32.const 65536)) (i32.const 1)))
      (br $again)))

  (func (export "devour")
    (local $page i32)
    (drop (memory.grow (i32.const 1020)))
    (loop $next
      (i32.store8 (i32.shl (local.get $page) (i32.const 12)) (i32.const 1))
      (br_if $next
        (i32.lt_u (local.tee $page (i32.add (local.get $page) (i32.const 1))) (i32.const 16384)))))

  (func (export "trap") (param $seed i64) (result i64)
    (drop (call $work (local.get $seed)))
    (unreachable))

  (func (export "nap") (param $until_ns i64) (result i64)
    (call $sleep_until (local.get $until_ns))
    (i64.load (i32.const 0))))
