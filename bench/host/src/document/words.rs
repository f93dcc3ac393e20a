//! Names and numbers as they are written in tables.

use crate::figure::{Figure, Spread, compared};
use palimpsest_host::digits::grouped;

/// The median, and the minimum if it differs.
pub(super) fn cell(figure: &Figure) -> String {
    if figure.median == figure.min {
        return number(figure.median);
    }
    format!("{} ({})", number(figure.median), number(figure.min))
}

/// The value that is compared, and the range of the rounds where they differ.
pub(super) fn spread_cell(figure: &Figure, spread: Option<Spread>) -> String {
    let value = number(compared(figure));
    match spread {
        Some(Spread { low, high }) if number(low) != number(high) => {
            format!("{value} ({} to {})", number(low), number(high))
        }
        _ => value,
    }
}

/// A figure's name as a person reads it: the operation, its range, and its variant if it has one.
pub(super) fn case(name: &str) -> String {
    let Some((what, rest)) = name.split_once('/') else { return name.to_owned() };
    let (range, variant) =
        rest.split_once('/').map_or((rest, None), |(range, variant)| (range, Some(variant)));
    let range = match range.parse::<u64>() {
        Ok(bytes) if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        Ok(65_536) if !what.starts_with("instantiate") => "64 KiB".to_owned(),
        Ok(_) | Err(_) => range.to_owned(),
    };
    variant.map_or_else(|| format!("{what}, {range}"), |variant| format!("{what}, {range}, {variant}"))
}

/// The name without its variant, or `None` if it has none.
pub(super) fn plain_name(name: &str) -> Option<&str> {
    let (plain, variant) = name.rsplit_once('/')?;
    (plain.contains('/') && !variant.is_empty()).then_some(plain)
}

/// A number with at least three digits, and commas between thousands.
pub(super) fn number(value: f64) -> String {
    if value < 10.0 && value.fract() != 0.0 {
        return format!("{value:.3}");
    }
    if value < 1000.0 && value.fract() != 0.0 {
        return format!("{value:.1}");
    }
    grouped(format_args!("{value:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_the_size_and_what_was_different() {
        assert_eq!(case("clear/65536"), "clear, 64 KiB");
        assert_eq!(
            case("first_touch/1048576/without fault-around"),
            "first_touch, 1 MiB, without fault-around"
        );
        assert_eq!(case("instantiate/65536"), "instantiate, 65536");
        assert_eq!(case("zero_memset"), "zero_memset");
    }

    #[test]
    fn only_a_name_of_three_parts_is_a_variant_of_another() {
        assert_eq!(plain_name("clear/65536/without fault-around"), Some("clear/65536"));
        assert_eq!(plain_name("clear/65536"), None);
        assert_eq!(plain_name("zero_memset"), None);
    }

    #[test]
    fn numbers_keep_the_digits_that_say_something() {
        let shown = [0.0, 0.0713, 12.34, 300.0, 1234.6, 67_108_864.0].map(number);
        assert_eq!(shown, ["0", "0.071", "12.3", "300", "1,235", "67,108,864"]);
    }
}
