;; Guests that run on several CPUs. Each reports its rounds, and runs until it is ended.
(module
  (import "palimpsest" "clear_pages" (func $clear_pages (param i32 i32) (result i32)))
  (import "bench" "round" (func $round))
  (memory (export "memory") 16)
  ;; An image, which the stores of one module share.
  (data (i32.const 0) "shown until it is written or cleared")

  ;; Writes one byte into each 4 KiB page of $wasm_pages Wasm pages, and clears them.
  (func (export "discard") (param $wasm_pages i32)
    (local $address i32)
    (loop $again
      (local.set $address (i32.shl (local.get $wasm_pages) (i32.const 16)))
      (loop $write
        (local.set $address (i32.sub (local.get $address) (i32.const 4096)))
        (i32.store8 (local.get $address) (i32.const 1))
        (br_if $write (local.get $address)))
      (if (call $clear_pages (i32.const 0) (local.get $wasm_pages)) (then (unreachable)))
      (call $round)
      (br $again)))

  ;; Computes without touching memory.
  (func (export "compute") (param $seed i32)
    (local $step i32) (local $x i64)
    (local.set $x (i64.extend_i32_u (local.get $seed)))
    (loop $again
      (local.set $step (i32.const 2000))
      (loop $next
        (local.set $x
          (i64.add (i64.mul (local.get $x) (i64.const 6364136223846793005)) (i64.const 1442695040888963407)))
        (br_if $next (local.tee $step (i32.sub (local.get $step) (i32.const 1)))))
      (if (i64.eqz (local.get $x)) (then (local.set $x (i64.const 1))))
      (call $round)
      (br $again))))
