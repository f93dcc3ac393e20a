//! Tables for people. The first column is aligned to the left, the others to the right.

use std::fmt;

/// Rows of words. The first row is the head.
#[derive(Debug)]
pub(super) struct Table(pub(super) Vec<Vec<String>>);

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or_default();
        let widths: Vec<_> = (0..columns)
            .map(|column| {
                self.0.iter().filter_map(|row| row.get(column)).map(|word| word.chars().count()).max()
            })
            .map(Option::unwrap_or_default)
            .collect();
        for row in &self.0 {
            let mut line = String::new();
            for (index, (word, width)) in row.iter().zip(&widths).enumerate() {
                match index {
                    0 => line.push_str(&format!("{word:<width$}")),
                    _ => line.push_str(&format!("  {word:>width$}")),
                }
            }
            writeln!(formatter, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_word() {
        let rows = [["step", "plain"], ["the end", "1,026"], ["x", "7"]];
        let table = Table(rows.map(|row| row.map(str::to_owned).to_vec()).to_vec());
        assert_eq!(table.to_string(), "step     plain\nthe end  1,026\nx            7\n");
    }
}
