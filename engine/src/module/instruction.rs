//! The instructions that the splice writes.
//!
//! `wasm_encoder::Instruction` has all of WebAssembly. Its code for each one would be in every
//! program that loads modules: 20 KB on a Cortex-M4.

use alloc::vec::Vec;
use wasm_encoder::{BlockType, Function, InstructionSink};

/// An instruction. The names are those of `wasm_encoder`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Instruction {
    Block(BlockType),
    Loop(BlockType),
    If(BlockType),
    Else,
    End,
    Br(u32),
    BrIf(u32),
    Call(u32),
    CallIndirect { type_index: u32, table_index: u32 },
    LocalGet(u32),
    LocalSet(u32),
    LocalTee(u32),
    GlobalGet(u32),
    GlobalSet(u32),
    RefFunc(u32),
    MemorySize(u32),
    MemoryFill(u32),
    MemoryCopy { src_mem: u32, dst_mem: u32 },
    MemoryInit { mem: u32, data_index: u32 },
    DataDrop(u32),
    TableInit { elem_index: u32, table: u32 },
    ElemDrop(u32),
    I32Const(i32),
    I32Eqz,
    I32GtU,
    I32Add,
    I32Sub,
    I32Or,
    I64Const(i64),
    I64GtU,
    I64Add,
    I64Sub,
    I64Or,
    I64Shl,
    I64ExtendI32U,
}

impl Instruction {
    /// Appends the instruction to `code`.
    pub(super) fn encode(self, code: &mut Vec<u8>) {
        self.write(&mut InstructionSink::new(code));
    }

    /// Appends the instruction to the body of `function`.
    pub(super) fn append_to(self, function: &mut Function) {
        self.write(&mut function.instructions());
    }

    fn write(self, sink: &mut InstructionSink<'_>) {
        match self {
            Self::Block(ty) => sink.block(ty),
            Self::Loop(ty) => sink.loop_(ty),
            Self::If(ty) => sink.if_(ty),
            Self::Else => sink.else_(),
            Self::End => sink.end(),
            Self::Br(depth) => sink.br(depth),
            Self::BrIf(depth) => sink.br_if(depth),
            Self::Call(function) => sink.call(function),
            Self::CallIndirect { type_index, table_index } => sink.call_indirect(table_index, type_index),
            Self::LocalGet(local) => sink.local_get(local),
            Self::LocalSet(local) => sink.local_set(local),
            Self::LocalTee(local) => sink.local_tee(local),
            Self::GlobalGet(global) => sink.global_get(global),
            Self::GlobalSet(global) => sink.global_set(global),
            Self::RefFunc(function) => sink.ref_func(function),
            Self::MemorySize(memory) => sink.memory_size(memory),
            Self::MemoryFill(memory) => sink.memory_fill(memory),
            Self::MemoryCopy { src_mem, dst_mem } => sink.memory_copy(dst_mem, src_mem),
            Self::MemoryInit { mem, data_index } => sink.memory_init(mem, data_index),
            Self::DataDrop(segment) => sink.data_drop(segment),
            Self::TableInit { elem_index, table } => sink.table_init(table, elem_index),
            Self::ElemDrop(segment) => sink.elem_drop(segment),
            Self::I32Const(value) => sink.i32_const(value),
            Self::I32Eqz => sink.i32_eqz(),
            Self::I32GtU => sink.i32_gt_u(),
            Self::I32Add => sink.i32_add(),
            Self::I32Sub => sink.i32_sub(),
            Self::I32Or => sink.i32_or(),
            Self::I64Const(value) => sink.i64_const(value),
            Self::I64GtU => sink.i64_gt_u(),
            Self::I64Add => sink.i64_add(),
            Self::I64Sub => sink.i64_sub(),
            Self::I64Or => sink.i64_or(),
            Self::I64Shl => sink.i64_shl(),
            Self::I64ExtendI32U => sink.i64_extend_i32_u(),
        };
    }
}
