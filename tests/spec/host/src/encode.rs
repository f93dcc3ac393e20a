//! From `.wast` text to commands.
//!
//! No directive is skipped: it becomes a command with binary modules, or it is counted as text-only
//! because it asserts something about a text, or it is an error. The modules are assembled here, so
//! that a kernel that runs the stream needs no assembler.

use crate::known_misses::KnownMisses;
use crate::values;
use anyhow::{Context, Result, bail};
use palimpsest_spec::stream::{Action, Command, Directive, File, Invoke, Writer};
use wast::lexer::Lexer;
use wast::parser::{self, ParseBuffer};
use wast::token::Id;
use wast::{QuoteWat, Wast, WastDirective, WastExecute, WastInvoke, Wat};

/// Adds the directives of `text` to the stream as those of `file`.
///
/// # Errors
/// The text does not parse, or has a directive of a kind that this program does not know.
pub(crate) fn write_file(
    writer: &mut Writer,
    file: File<'_>,
    text: &str,
    misses: &mut KnownMisses,
) -> Result<()> {
    let mut lexer = Lexer::new(text);
    // Some tests have names with confusable characters on purpose.
    lexer.allow_confusing_unicode(true);
    let tokens = ParseBuffer::new_with_lexer(lexer).with_context(|| format!("cannot read {file}"))?;
    let wast: Wast<'_> = parser::parse(&tokens).with_context(|| format!("cannot read {file}"))?;
    writer.start_file(file);
    for mut directive in wast.directives {
        let line = u32::try_from(directive.span().linecol_in(text).0 + 1).context("a file of 4 GiB")?;
        let mut wasm = Vec::new();
        let command = command(&mut directive, &mut wasm).with_context(|| format!("{file}:{line}"))?;
        writer.directive(Directive { line, expected: misses.expected(file, line), command });
    }
    writer.end_file();
    Ok(())
}

/// Returns the command of `directive`. `wasm` receives its module.
fn command<'a>(directive: &'a mut WastDirective<'_>, wasm: &'a mut Vec<u8>) -> Result<Command<'a>> {
    Ok(match directive {
        WastDirective::Module(module) => {
            let name = module.name();
            Command::Module { name: name.map(|id| id.name()), wasm: assemble(module, wasm)? }
        }
        WastDirective::ModuleDefinition(module) => {
            let name = module.name();
            Command::Define { name: name.map(|id| id.name()), wasm: assemble(module, wasm)? }
        }
        WastDirective::ModuleInstance { instance, module, .. } => {
            Command::Instantiate { name: name(*instance), definition: name(*module) }
        }
        WastDirective::Register { name: as_name, module, .. } => {
            Command::Register { module: as_name, instance: name(*module) }
        }
        WastDirective::Invoke(call) => Command::Invoke(invoke(call)?),
        WastDirective::AssertReturn { exec, results, .. } => {
            Command::AssertReturn { action: action(exec)?, results: values::patterns(results)? }
        }
        WastDirective::AssertTrap { exec, message, .. } => assert_trap(exec, message, wasm)?,
        WastDirective::AssertExhaustion { call, message, .. } => {
            Command::AssertExhaustion { invoke: invoke(call)?, message }
        }
        WastDirective::AssertMalformed { module, message, .. } => assert_malformed(module, message, wasm),
        WastDirective::AssertInvalid { module, message, .. } => {
            assemble(module, wasm).map_or(Command::TextOnly, |wasm| Command::AssertInvalid { wasm, message })
        }
        WastDirective::AssertUnlinkable { module, message, .. } => {
            Command::AssertUnlinkable { wasm: assemble_inline(module, wasm)?, message }
        }
        WastDirective::AssertException { .. }
        | WastDirective::AssertSuspension { .. }
        | WastDirective::AssertInvalidCustom { .. }
        | WastDirective::AssertMalformedCustom { .. }
        | WastDirective::Thread(_)
        | WastDirective::Wait { .. } => bail!("a directive of a proposal that wasmi does not have"),
    })
}

fn assert_trap<'a>(
    execute: &'a mut WastExecute<'_>,
    message: &'a str,
    wasm: &'a mut Vec<u8>,
) -> Result<Command<'a>> {
    match execute {
        WastExecute::Invoke(call) => Ok(Command::AssertTrap { invoke: invoke(call)?, message }),
        WastExecute::Wat(module) => {
            Ok(Command::AssertModuleTraps { wasm: assemble_inline(module, wasm)?, message })
        }
        WastExecute::Get { .. } => bail!("reading a global variable cannot trap"),
    }
}

/// A quoted text, or a text that the assembler refuses, is malformed as a text and has no binary
/// form.
fn assert_malformed<'a>(module: &mut QuoteWat<'_>, message: &'a str, wasm: &'a mut Vec<u8>) -> Command<'a> {
    match module {
        QuoteWat::Wat(module) => assemble_inline(module, wasm)
            .map_or(Command::TextOnly, |wasm| Command::AssertMalformed { wasm, message }),
        QuoteWat::QuoteModule(..) | QuoteWat::QuoteComponent(..) => Command::TextOnly,
    }
}

fn assemble<'a>(module: &mut QuoteWat<'_>, wasm: &'a mut Vec<u8>) -> Result<&'a [u8]> {
    *wasm = module.encode()?;
    Ok(wasm)
}

fn assemble_inline<'a>(module: &mut Wat<'_>, wasm: &'a mut Vec<u8>) -> Result<&'a [u8]> {
    *wasm = module.encode()?;
    Ok(wasm)
}

fn action<'a>(execute: &'a WastExecute<'_>) -> Result<Action<'a>> {
    match execute {
        WastExecute::Invoke(call) => Ok(Action::Invoke(invoke(call)?)),
        WastExecute::Get { module, global, .. } => Ok(Action::Get { instance: name(*module), global }),
        WastExecute::Wat(_) => bail!("a module has no results"),
    }
}

fn invoke<'a>(call: &'a WastInvoke<'_>) -> Result<Invoke<'a>> {
    Ok(Invoke { instance: name(call.module), func: call.name, args: values::arguments(&call.args)? })
}

fn name(id: Option<Id<'_>>) -> Option<&str> {
    id.map(|id| id.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use palimpsest_spec::stream::{Expected, FloatPattern, Pattern, Reader, Suite, Value};

    const FILE: File<'_> = File { suite: Suite::V2, name: "a.wast" };

    /// The stream of one file with this text.
    fn stream(text: &str) -> Result<Vec<u8>> {
        let mut writer = Writer::new();
        write_file(&mut writer, FILE, text, &mut KnownMisses::parse("wasm-v2/a.wast:2 why")?)?;
        Ok(writer.finish())
    }

    /// The directives of a stream of one file.
    fn directives(stream: &[u8]) -> Result<Vec<Directive<'_>>> {
        let mut reader = Reader::new(stream)?;
        assert_eq!(reader.next_file()?, Some(FILE));
        let mut directives = Vec::new();
        while let Some(directive) = reader.next_directive()? {
            directives.push(directive);
        }
        assert_eq!(reader.next_file()?, None);
        Ok(directives)
    }

    #[test]
    fn a_directive_keeps_its_line_and_its_operands() -> Result<()> {
        let stream = stream(
            "(module $m binary \"\\00asm\\01\\00\\00\\00\")\n(assert_return (invoke $m \"f\" (i32.const -1)) (f32.const nan:canonical))",
        )?;
        let directives = directives(&stream)?;
        let [module, assertion] = directives.as_slice() else { panic!("{directives:?}") };
        let wasm = b"\0asm\x01\0\0\0".as_slice();
        assert_eq!((module.line, module.expected), (1, Expected::Pass));
        assert_eq!(module.command, Command::Module { name: Some("m"), wasm });
        assert_eq!((assertion.line, assertion.expected), (2, Expected::KnownMiss));
        let invoke = Invoke { instance: Some("m"), func: "f", args: vec![Value::I32(-1)] };
        let results = vec![Pattern::F32(FloatPattern::CanonicalNan)];
        let command = Command::AssertReturn { action: Action::Invoke(invoke), results };
        assert_eq!(assertion.command, command);
        Ok(())
    }

    #[test]
    fn an_assertion_without_a_binary_module_is_text_only() -> Result<()> {
        let stream = stream(
            "(assert_malformed (module quote \"(\") \"unexpected end\")\n\
             (assert_malformed (module binary \"\") \"unexpected end\")\n\
             (assert_invalid (module (func (call $none))) \"unknown function\")",
        )?;
        let commands: Vec<_> = directives(&stream)?.into_iter().map(|directive| directive.command).collect();
        let binary = Command::AssertMalformed { wasm: &[], message: "unexpected end" };
        assert_eq!(commands, [Command::TextOnly, binary, Command::TextOnly]);
        Ok(())
    }

    #[test]
    fn a_directive_of_an_unknown_kind_is_an_error_with_its_place() {
        let error = stream("(module)\n\n(wait $thread)").expect_err("there are no threads");
        let expected = "wasm-v2/a.wast:3: a directive of a proposal that wasmi does not have";
        assert_eq!(format!("{error:#}"), expected);
    }
}
