//! The parts of a module that the validator of its function bodies looks up.
//!
//! Both the guest's own functions and the spliced ones are validated with this type, because its
//! code and that of the validator for it are large. For the host table see
//! [`validate`](super::validate).

use wasmparser::{
    BinaryReaderError, FuncToValidate, FuncType, GlobalType, HeapType, MemoryType, RefType, SubType,
    TableType, ValType, ValidatorResources, WasmModuleResources, types::CoreTypeId,
};

/// What a function body can refer to.
pub(super) struct Resources {
    module: ValidatorResources,
    /// A table of the module that its validator has not seen, and its index.
    host_table: Option<(u32, TableType)>,
}

impl Resources {
    /// Replaces the resources of a function by these.
    pub(super) fn of(
        func: FuncToValidate<ValidatorResources>,
        host_table: Option<(u32, TableType)>,
    ) -> FuncToValidate<Self> {
        let FuncToValidate { resources: module, index, ty, features } = func;
        FuncToValidate { resources: Self { module, host_table }, index, ty, features }
    }
}

impl WasmModuleResources for Resources {
    fn table_at(&self, at: u32) -> Option<TableType> {
        match self.host_table {
            Some((index, ty)) if index == at => Some(ty),
            Some(_) | None => self.module.table_at(at),
        }
    }

    fn memory_at(&self, at: u32) -> Option<MemoryType> {
        self.module.memory_at(at)
    }

    fn tag_at(&self, at: u32) -> Option<&FuncType> {
        self.module.tag_at(at)
    }

    fn global_at(&self, at: u32) -> Option<GlobalType> {
        self.module.global_at(at)
    }

    fn sub_type_at(&self, type_index: u32) -> Option<&SubType> {
        self.module.sub_type_at(type_index)
    }

    fn sub_type_at_id(&self, id: CoreTypeId) -> &SubType {
        self.module.sub_type_at_id(id)
    }

    fn type_id_of_function(&self, func_idx: u32) -> Option<CoreTypeId> {
        self.module.type_id_of_function(func_idx)
    }

    fn type_index_of_function(&self, func_index: u32) -> Option<u32> {
        self.module.type_index_of_function(func_index)
    }

    fn element_type_at(&self, at: u32) -> Option<RefType> {
        self.module.element_type_at(at)
    }

    fn is_subtype(&self, a: ValType, b: ValType) -> bool {
        self.module.is_subtype(a, b)
    }

    fn is_shared(&self, ty: RefType) -> bool {
        self.module.is_shared(ty)
    }

    fn check_heap_type(&self, heap_type: &mut HeapType, offset: usize) -> Result<(), BinaryReaderError> {
        self.module.check_heap_type(heap_type, offset)
    }

    fn top_type(&self, heap_type: &HeapType) -> HeapType {
        self.module.top_type(heap_type)
    }

    fn element_count(&self) -> u32 {
        self.module.element_count()
    }

    fn data_count(&self) -> Option<u32> {
        self.module.data_count()
    }

    fn is_function_referenced(&self, idx: u32) -> bool {
        self.module.is_function_referenced(idx)
    }
}
