;; Works in rounds. The host clears pages in each round, overwrites free frames, and may move the
;; guest to another CPU. All words must be as the guest has left them.
(module
  ;; Clears Wasm pages. Returns the number of frames about which it was wrong.
  (import "host" "clear" (func $clear (param i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 65536) "an image")

  (global $wrong (mut i32) (i32.const 0))

  ;; Counts the word at $address as wrong unless it is $expected.
  (func $check (param $address i32) (param $expected i64)
    (global.set $wrong
      (i32.add (global.get $wrong) (i64.ne (i64.load (local.get $address)) (local.get $expected)))))

  ;; In each round: writes to four pages of the first Wasm page, which were cleared, and to one page
  ;; of the second, which is kept. Returns how many words were wrong.
  (func (export "rounds") (param $seed i64) (param $rounds i32) (result i32)
    (local $start i32) (local $address i32) (local $kept i64)
    (call $check (i32.const 65536) (i64.const 0x6567616d69206e61))
    (local.set $kept (i64.const 0x6567616d69206e61))
    (loop $again
      (local.set $seed
        (i64.add (i64.mul (local.get $seed) (i64.const 6364136223846793005)) (i64.const 1442695040888963407)))
      ;; One of 13 pages, and the three after it.
      (local.set $start
        (i32.shl (i32.rem_u (i32.wrap_i64 (i64.shr_u (local.get $seed) (i64.const 40))) (i32.const 13)) (i32.const 12)))
      (local.set $address (local.get $start))
      (loop $write
        (call $check (local.get $address) (i64.const 0))
        (i64.store (local.get $address) (i64.add (local.get $seed) (i64.extend_i32_u (local.get $address))))
        (local.set $address (i32.add (local.get $address) (i32.const 4096)))
        (br_if $write (i32.lt_u (local.get $address) (i32.add (local.get $start) (i32.const 16384)))))
      (call $check (i32.const 65536) (local.get $kept))
      (local.set $kept (local.get $seed))
      (i64.store (i32.const 65536) (local.get $kept))
      (local.set $address (local.get $start))
      (loop $read
        (call $check (local.get $address) (i64.add (local.get $seed) (i64.extend_i32_u (local.get $address))))
        (local.set $address (i32.add (local.get $address) (i32.const 4096)))
        (br_if $read (i32.lt_u (local.get $address) (i32.add (local.get $start) (i32.const 16384)))))
      (global.set $wrong
        (i32.add (global.get $wrong) (call $clear (i32.const 0) (i32.const 1))))
      (br_if $again (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))
    (global.get $wrong)))
