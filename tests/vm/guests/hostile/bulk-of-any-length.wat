;; Single instructions that move gigabytes, or megabytes again and again.
(module
  (memory (export "memory") i64 1048576 1048576)   ;; 64 GiB
  (table $a 100000 100000 funcref)
  (table $b 100000 100000 funcref)
  (table $c 1 131072 funcref)
  (elem $functions func $nothing $nothing $nothing $nothing)
  (data $bytes "0123456789abcdef")
  (func $nothing)

  (func (export "fill") (param $byte i32) (param $bytes i64)
    (memory.fill (i64.const 0) (local.get $byte) (local.get $bytes)))
  (func (export "copy") (param $to i64) (param $from i64) (param $bytes i64)
    (memory.copy (local.get $to) (local.get $from) (local.get $bytes)))
  (func (export "copy_onto_written") (param $bytes i64)
    (i64.store (i64.const 0x100000000) (i64.const 1))
    (memory.copy (i64.const 0) (i64.const 0x100000000) (local.get $bytes)))

  (func (export "fill_forever") (param $bytes i64)
    (loop $again
      (memory.fill (i64.const 0) (i32.const 7) (local.get $bytes))
      (br $again)))
  (func (export "copy_forever") (param $to i64) (param $from i64) (param $bytes i64)
    (loop $again
      (memory.copy (local.get $to) (local.get $from) (local.get $bytes))
      (br $again)))
  (func (export "table_fill_forever")
    (loop $again
      (table.fill $a (i32.const 0) (ref.func $nothing) (i32.const 100000))
      (br $again)))
  (func (export "table_copy_forever")
    (loop $again
      (table.copy $b $a (i32.const 0) (i32.const 0) (i32.const 100000))
      (table.copy $a $a (i32.const 1) (i32.const 0) (i32.const 99999))
      (br $again)))
  (func (export "table_init_forever")
    (loop $again
      (table.init $a $functions (i32.const 0) (i32.const 0) (i32.const 4))
      (memory.init $bytes (i64.const 0) (i32.const 0) (i32.const 16))
      (br $again)))
  ;; Grows a table by one, and by more than there can be.
  (func (export "table_grow_forever")
    (loop $again
      (drop (table.grow $c (ref.null func) (i32.const 1)))
      (drop (table.grow $c (ref.null func) (i32.const -1)))
      (br $again))))
