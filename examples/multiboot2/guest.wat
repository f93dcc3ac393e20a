;; A guest that grows its memory, touches it, discards what it touched, and checks the kernel's free
;; frames on the way. It returns 16 if everything was as it must be, and 18 if not.
(module
  (import "kernel" "print" (func $print (param $start i32) (param $length i32)))
  (import "kernel" "free_frames" (func $free_frames (result i64)))
  (import "palimpsest" "clear_pages" (func $clear_pages (param $start i32) (param $count i32) (result i32)))
  (memory (export "memory") 1 32768)
  (data (i32.const 0) "the guest says hello")

  ;; Writes to each of the Wasm pages from 1 to `last`.
  (func $touch (param $last i32)
    (local $page i32)
    (local.set $page (i32.const 1))
    (loop $next
      (i64.store
        (i32.shl (local.get $page) (i32.const 16))
        (i64.extend_i32_u (local.get $page)))
      (local.set $page (i32.add (local.get $page) (i32.const 1)))
      (br_if $next (i32.le_u (local.get $page) (local.get $last)))))

  (func (export "run") (result i32)
    (local $free i64)
    (call $print (i32.const 0) (i32.const 20))
    ;; 1 GiB, which is more than the machine has, takes no frame.
    (local.set $free (call $free_frames))
    (if (i32.ne (memory.grow (i32.const 16384)) (i32.const 1)) (then (return (i32.const 18))))
    (if (i64.ne (call $free_frames) (local.get $free)) (then (return (i32.const 18))))
    ;; One frame for each Wasm page that is touched, and further ones for page tables.
    (call $touch (i32.const 1024))
    (if (i64.gt_u (call $free_frames) (i64.sub (local.get $free) (i64.const 1024)))
      (then (return (i32.const 18))))
    (if (i64.ne (i64.load (i32.const 0x4000000)) (i64.const 1024)) (then (return (i32.const 18))))
    ;; All of them return.
    (if (call $clear_pages (i32.const 1) (i32.const 16384)) (then (return (i32.const 18))))
    (if (i64.ne (call $free_frames) (local.get $free)) (then (return (i32.const 18))))
    (if (i64.ne (i64.load (i32.const 0x4000000)) (i64.const 0)) (then (return (i32.const 18))))
    (i32.const 16)))
