;; Allocates, moves and frees blocks of the host's heap in a random order. Each block has a word at
;; its start and one at its end. Returns how many of them were not as they were written.
(module
  (import "palimpsest" "malloc" (func $malloc (param i32) (result i32)))
  (import "palimpsest" "realloc" (func $realloc (param i32 i32) (result i32)))
  (import "palimpsest" "free" (func $free (param i32)))
  (import "palimpsest" "usable_size" (func $usable_size (param i32) (result i32)))
  ;; 64 slots of 16 bytes: a block's address, its size, and its word.
  (memory (export "memory") 1 1024)

  (global $seed (mut i64) (i64.const 0))
  (global $differences (mut i32) (i32.const 0))

  (func $next (result i64)
    (global.set $seed (i64.xor (global.get $seed) (i64.shl (global.get $seed) (i64.const 13))))
    (global.set $seed (i64.xor (global.get $seed) (i64.shr_u (global.get $seed) (i64.const 7))))
    (global.set $seed (i64.xor (global.get $seed) (i64.shl (global.get $seed) (i64.const 17))))
    (global.get $seed))
  ;; Up to 4 KiB, and once in 16 times up to 128 KiB.
  (func $size (result i32) (local $number i32)
    (local.set $number (i32.wrap_i64 (i64.shr_u (call $next) (i64.const 16))))
    (i32.add (i32.const 16) (i32.and (local.get $number)
      (select (i32.const 0xfff) (i32.const 0x1ffff)
        (i32.wrap_i64 (i64.and (call $next) (i64.const 15)))))))

  (func $end (param $slot i32) (result i32)
    (i32.add (i32.load (local.get $slot)) (i32.sub (i32.load offset=4 (local.get $slot)) (i32.const 8))))

  (func $fill (param $slot i32) (param $block i32) (param $size i32) (param $word i64)
    ;; The heap has room for all slots.
    (if (i32.eqz (local.get $block)) (then (unreachable)))
    (if (i32.lt_u (call $usable_size (local.get $block)) (local.get $size)) (then (unreachable)))
    (i32.store (local.get $slot) (local.get $block))
    (i32.store offset=4 (local.get $slot) (local.get $size))
    (i64.store offset=8 (local.get $slot) (local.get $word))
    (i64.store (local.get $block) (local.get $word))
    (i64.store (call $end (local.get $slot)) (local.get $word)))

  (func $check (param $address i32) (param $word i64)
    (global.set $differences (i32.add (global.get $differences)
      (i64.ne (i64.load (local.get $address)) (local.get $word)))))

  (func $move (param $slot i32) (local $block i32) (local $size i32)
    (local.set $size (call $size))
    (local.set $block (call $realloc (i32.load (local.get $slot)) (local.get $size)))
    (call $check (local.get $block) (i64.load offset=8 (local.get $slot)))
    (call $fill (local.get $slot) (local.get $block) (local.get $size) (call $next)))

  (func $release (param $slot i32)
    (call $free (i32.load (local.get $slot)))
    (i32.store (local.get $slot) (i32.const 0)))

  (func (export "run") (param $seed i64) (param $rounds i32) (result i64) (local $slot i32) (local $size i32)
    (global.set $seed (local.get $seed))
    (loop $again
      (local.set $slot
        (i32.shl (i32.and (i32.wrap_i64 (i64.shr_u (call $next) (i64.const 8))) (i32.const 63)) (i32.const 4)))
      (if (i32.load (local.get $slot))
        (then
          (call $check (i32.load (local.get $slot)) (i64.load offset=8 (local.get $slot)))
          (call $check (call $end (local.get $slot)) (i64.load offset=8 (local.get $slot)))
          (if (i64.eqz (i64.and (call $next) (i64.const 3)))
            (then (call $move (local.get $slot)))
            (else (call $release (local.get $slot)))))
        (else
          (local.set $size (call $size))
          (call $fill (local.get $slot) (call $malloc (local.get $size)) (local.get $size) (call $next))))
      (br_if $again (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))
    (i64.extend_i32_u (global.get $differences))))
