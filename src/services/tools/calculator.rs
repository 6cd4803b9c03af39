//! `calculator`: exact arithmetic on fractions. Nothing is rounded unless the expression says so, and nothing grows beyond 128 bits.

use std::fmt;

use serde_json::{Value, json};

/// How deep parentheses may stand in each other.
const DEPTH_MAX: u32 = 64;
/// Arguments of a function.
const ARGUMENTS_MAX: usize = 100;
const EXPONENT_MAX: i128 = 1_000;
/// Digits behind the point that are shown of a number that has more.
const DIGITS_SHOWN: u32 = 20;

/// The value; where its digits do not end, as many as are shown, and the fraction that it is.
pub(super) fn answer(expression: &str) -> Result<Value, String> {
    let value = evaluate(expression)?;
    let (digits, exact) = value.digits();
    Ok(if exact {
        json!({ "value": digits, "exact": true })
    } else {
        json!({ "value": digits, "exact": false, "fraction": value.to_string() })
    })
}

fn evaluate(expression: &str) -> Result<Ratio, String> {
    let mut parser = Parser {
        rest: expression,
        depth: 0,
    };
    let value = parser.sum()?;
    match parser.peek() {
        None => Ok(value),
        Some(c) => Err(format!("“{c}” does not belong at character {}", parser.at(expression))),
    }
}

/// A fraction in its lowest terms; the lower part is above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ratio {
    upper: i128,
    lower: i128,
}

const TOO_LARGE: &str = "a number on the way is too large to be kept exactly";

fn fits(number: Option<i128>) -> Result<i128, String> {
    number.ok_or_else(|| TOO_LARGE.to_owned())
}

fn common_divisor(a: i128, b: i128) -> u128 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

impl Ratio {
    const fn whole(number: i128) -> Self {
        Self { upper: number, lower: 1 }
    }

    fn new(upper: i128, lower: i128) -> Result<Self, String> {
        if lower == 0 {
            return Err("that divides by zero".to_owned());
        }
        let divisor = fits(i128::try_from(common_divisor(upper, lower)).ok())?.max(1);
        let sign = lower.signum();
        Ok(Self {
            upper: fits((upper / divisor).checked_mul(sign))?,
            lower: fits((lower / divisor).checked_mul(sign))?,
        })
    }

    fn plus(self, other: Self) -> Result<Self, String> {
        let divisor = fits(i128::try_from(common_divisor(self.lower, other.lower)).ok())?;
        let (left, right) = (other.lower / divisor, self.lower / divisor);
        let upper = self
            .upper
            .checked_mul(left)
            .zip(other.upper.checked_mul(right))
            .and_then(|(a, b)| a.checked_add(b));
        Self::new(fits(upper)?, fits(self.lower.checked_mul(left))?)
    }

    fn negated(self) -> Result<Self, String> {
        Ok(Self {
            upper: fits(self.upper.checked_neg())?,
            ..self
        })
    }

    fn times(self, other: Self) -> Result<Self, String> {
        // Shortened crosswise first, so that only what is large in the end is too large.
        let (a, d) = (Self::new(self.upper, other.lower)?, Self::new(other.upper, self.lower)?);
        Self::new(fits(a.upper.checked_mul(d.upper))?, fits(a.lower.checked_mul(d.lower))?)
    }

    fn over(self, other: Self) -> Result<Self, String> {
        self.times(Self::new(other.lower, other.upper)?)
    }

    /// The remainder that has the divisor's sign.
    fn modulo(self, other: Self) -> Result<Self, String> {
        let whole = self.over(other)?.floor();
        self.plus(whole.times(other)?.negated()?)
    }

    fn power(self, exponent: Self) -> Result<Self, String> {
        if exponent.lower != 1 || exponent.upper.abs() > EXPONENT_MAX {
            return Err(format!("an exponent is a whole number between -{EXPONENT_MAX} and {EXPONENT_MAX}"));
        }
        let mut result = Self::whole(1);
        for _ in 0..exponent.upper.unsigned_abs() {
            result = result.times(self)?;
        }
        if exponent.upper < 0 {
            Self::whole(1).over(result)
        } else {
            Ok(result)
        }
    }

    const fn floor(self) -> Self {
        Self::whole(self.upper.div_euclid(self.lower))
    }

    /// To so many digits behind the point; what lies in the middle goes away from zero.
    fn rounded(self, digits: Self) -> Result<Self, String> {
        let scale = Self::whole(10).power(digits)?;
        let scaled = self.times(scale)?;
        let half = Self { upper: 1, lower: 2 };
        let nearest = if scaled.upper < 0 {
            scaled.negated()?.plus(half)?.floor().negated()?
        } else {
            scaled.plus(half)?.floor()
        };
        nearest.over(scale)
    }

    fn is_less(self, other: Self) -> Result<bool, String> {
        Ok(self.plus(other.negated()?)?.upper < 0)
    }

    /// Its digits, and whether those are all of them.
    fn digits(self) -> (String, bool) {
        let lower = self.lower.unsigned_abs();
        let upper = self.upper.unsigned_abs();
        let mut text = format!("{}{}", if self.upper < 0 { "-" } else { "" }, upper / lower);
        let mut rest = upper % lower;
        if rest == 0 {
            return (text, true);
        }
        text.push('.');
        // Digits that end are all shown; those that do not are cut.
        let ends = ends(lower);
        let mut shown = 0;
        while rest != 0 && (ends || shown < DIGITS_SHOWN) {
            let (digit, left) = next_digit(rest, lower);
            text.push(digit);
            rest = left;
            shown += 1;
        }
        (text, rest == 0)
    }
}

/// Whether a fraction with this lower part has finitely many digits.
const fn ends(mut lower: u128) -> bool {
    while lower.is_multiple_of(2) {
        lower /= 2;
    }
    while lower.is_multiple_of(5) {
        lower /= 5;
    }
    lower == 1
}

/// The next digit of `rest / lower`, and what is left; ten times `rest` may not fit, so it is added up.
const fn next_digit(rest: u128, lower: u128) -> (char, u128) {
    let (mut digit, mut sum, mut round) = (b'0', 0_u128, 0);
    while round < 10 {
        // Both are below `lower`, which is below 2^127.
        sum += rest;
        if sum >= lower {
            sum -= lower;
            digit += 1;
        }
        round += 1;
    }
    (digit as char, sum)
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lower {
            1 => write!(f, "{}", self.upper),
            lower => write!(f, "{}/{lower}", self.upper),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: u32,
}

impl<'a> Parser<'a> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.rest = self.rest.get(wanted.len_utf8()..).unwrap_or_default();
        }
        found
    }

    /// The place in characters, from 1.
    fn at(&self, expression: &str) -> usize {
        let read = expression.len() - self.rest.len();
        expression.get(..read).unwrap_or_default().chars().count() + 1
    }

    fn sum(&mut self) -> Result<Ratio, String> {
        let mut value = self.product()?;
        loop {
            if self.take('+') {
                value = value.plus(self.product()?)?;
            } else if self.take('-') || self.take('−') {
                value = value.plus(self.product()?.negated()?)?;
            } else {
                return Ok(value);
            }
        }
    }

    fn product(&mut self) -> Result<Ratio, String> {
        let mut value = self.signed()?;
        loop {
            if self.rest.trim_start().starts_with("**") {
                return Err("a power is written with ^".to_owned());
            }
            if self.take('*') || self.take('×') {
                value = value.times(self.signed()?)?;
            } else if self.take('/') || self.take('÷') {
                value = value.over(self.signed()?)?;
            } else if self.take('%') {
                value = value.modulo(self.signed()?)?;
            } else {
                return Ok(value);
            }
        }
    }

    fn signed(&mut self) -> Result<Ratio, String> {
        let mut negative = false;
        loop {
            if self.take('-') || self.take('−') {
                negative = !negative;
            } else if !self.take('+') {
                break;
            }
        }
        let value = self.power()?;
        if negative { value.negated() } else { Ok(value) }
    }

    /// `2^3^2` is `2^(3^2)`, and `-2^2` is `-(2^2)`.
    fn power(&mut self) -> Result<Ratio, String> {
        let base = self.operand()?;
        if !self.take('^') {
            return Ok(base);
        }
        self.deeper()?;
        let exponent = self.signed()?;
        self.depth -= 1;
        base.power(exponent)
    }

    fn deeper(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("it is nested deeper than {DEPTH_MAX}"));
        }
        Ok(())
    }

    fn operand(&mut self) -> Result<Ratio, String> {
        match self.peek() {
            Some('(') => {
                self.take('(');
                self.deeper()?;
                let value = self.sum()?;
                self.depth -= 1;
                if self.take(')') {
                    Ok(value)
                } else {
                    Err("a parenthesis is not closed".to_owned())
                }
            }
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some(c) if c.is_ascii_alphabetic() => self.function(),
            Some(c) => Err(format!("“{c}” stands where a number is wanted")),
            None => Err("it ends where a number is wanted".to_owned()),
        }
    }

    fn word(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn number(&mut self) -> Result<Ratio, String> {
        let belongs = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
        let mut text = self.word(belongs).to_owned();
        if text.ends_with(['e', 'E']) && self.rest.starts_with(['-', '+']) {
            let sign = if self.rest.starts_with('-') { "-" } else { "" };
            self.rest = self.rest.get(1..).unwrap_or_default();
            text = format!("{text}{sign}{}", self.word(belongs));
        }
        let plain = text.replace('_', "");
        let (digits, exponent) = match plain.split_once(['e', 'E']) {
            None => (plain.as_str(), 0),
            Some((digits, exponent)) => (digits, exponent.parse::<i128>().map_err(|_| format!("“{text}” is no number"))?),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let all = format!("{whole}{part}");
        if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("“{text}” is no number; write 1234.5 without separators"));
        }
        let upper = fits(all.parse().ok())?;
        let places = i128::try_from(part.len()).unwrap_or(i128::MAX);
        Ratio::whole(upper).times(Ratio::whole(10).power(Ratio::whole(exponent.saturating_sub(places)))?)
    }

    fn function(&mut self) -> Result<Ratio, String> {
        let name = self.word(|c| c.is_ascii_alphanumeric() || c == '_').to_ascii_lowercase();
        if !self.take('(') {
            return Err(format!("“{name}” is no number; functions are written {name}(…)"));
        }
        self.deeper()?;
        let mut given = vec![self.sum()?];
        while self.take(',') || self.take(';') {
            if given.len() == ARGUMENTS_MAX {
                return Err(format!("{name} takes at most {ARGUMENTS_MAX} numbers"));
            }
            given.push(self.sum()?);
        }
        self.depth -= 1;
        if !self.take(')') {
            return Err(format!("the parenthesis of {name} is not closed"));
        }
        apply(&name, &given)
    }
}

fn apply(name: &str, given: &[Ratio]) -> Result<Ratio, String> {
    match (name, given) {
        ("abs", [x]) if x.upper < 0 => x.negated(),
        ("abs", [x]) => Ok(*x),
        ("floor", [x]) => Ok(x.floor()),
        ("ceil", [x]) => x.negated()?.floor().negated(),
        ("round", [x]) => x.rounded(Ratio::whole(0)),
        ("round", [x, digits]) => x.rounded(*digits),
        ("min" | "max", [first, more @ ..]) => more.iter().try_fold(*first, |best, x| {
            let is_less = x.is_less(best)?;
            let is_more = best.is_less(*x)?;
            Ok(if (name == "min" && is_less) || (name == "max" && is_more) {
                *x
            } else {
                best
            })
        }),
        ("sum", all) => all.iter().try_fold(Ratio::whole(0), |sum, x| sum.plus(*x)),
        ("abs" | "floor" | "ceil" | "round", _) => Err(format!("{name} does not take {} numbers", given.len())),
        _ => Err(format!(
            "there is no function {name}; there are abs, floor, ceil, round, min, max and sum"
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digits(expression: &str) -> String {
        evaluate(expression).unwrap_or_else(|why| panic!("{expression}: {why}")).digits().0
    }

    #[test]
    fn arithmetic_is_exact() {
        for (expression, value) in [
            ("0.1 + 0.2", "0.3"),
            ("1/3 + 1/3 + 1/3", "1"),
            ("2 + 3 * 4", "14"),
            ("(2 + 3) * 4", "20"),
            ("2^3^2", "512"),
            ("-2^2", "-4"),
            ("2^-2", "0.25"),
            ("10 % 3", "1"),
            ("-7 % 3", "2"),
            ("7.5 % 2", "1.5"),
            ("1e3 + 1.5e-2", "1000.015"),
            ("1_000 * 2", "2000"),
            ("--5", "5"),
            ("round(19.99 * 3 * 1.19, 2)", "71.36"),
            ("round(2.5) + round(-2.5)", "0"),
            ("floor(-1.5) + ceil(1.2)", "0"),
            ("min(3, 1, 2) + max(3, 1, 2)", "4"),
            ("sum(1, 2, 3) / 2", "3"),
            ("abs(-1/4)", "0.25"),
            ("1/3", "0.33333333333333333333"),
            (
                "170141183460469231731687303715884105727 - 1",
                "170141183460469231731687303715884105726",
            ),
            ("1 / 170141183460469231731687303715884105727", "0.00000000000000000000"),
        ] {
            assert_eq!(digits(expression), value, "{expression}");
        }
        assert_eq!(
            answer("2/3").unwrap(),
            json!({ "value": "0.66666666666666666666", "exact": false, "fraction": "2/3" })
        );
    }

    #[test]
    fn what_cannot_be_calculated_is_said() {
        for expression in [
            "",
            "1 +",
            "1 / 0",
            "1 % 0",
            "0^-1",
            "(1",
            "1)",
            "2 2",
            "1,000",
            "a",
            "eval(1)",
            "2**3",
            "1e",
            "1.2.3",
            "0x10",
            "2^0.5",
            "2^2000",
            "99999999999999999999 * 99999999999999999999 * 9",
            "round(1, 2, 3)",
            "min()",
            "1e99999999999999999999",
            "$1",
            "²",
            "round(1, 99999)",
            "170141183460469231731687303715884105728",
        ] {
            assert!(evaluate(expression).is_err(), "{expression}");
        }
        assert!(evaluate(&"(".repeat(10_000)).is_err());
        assert!(evaluate(&"2^".repeat(10_000)).is_err());
        assert!(evaluate(&"f(".repeat(10_000)).is_err());
        assert_eq!(evaluate(&format!("{}1", "-".repeat(10_000))), Ok(Ratio::whole(1)));
    }

    /// An expression with the fraction that it is, worked out another way.
    fn tree() -> impl Strategy<Value = (String, Option<(i64, i64)>)> {
        let leaf = (-20_i64..20).prop_map(|n| (format!("({n})"), Some((n, 1))));
        leaf.prop_recursive(4, 24, 2, |inner| {
            (inner.clone(), inner, 0..4_usize).prop_map(|((a, x), (b, y), op)| {
                let text = format!("({a} {} {b})", ["+", "-", "*", "/"][op]);
                let value = x.zip(y).and_then(|((a, b), (c, d))| match op {
                    0 => Some((a.checked_mul(d)?.checked_add(c.checked_mul(b)?)?, b.checked_mul(d)?)),
                    1 => Some((a.checked_mul(d)?.checked_sub(c.checked_mul(b)?)?, b.checked_mul(d)?)),
                    2 => Some((a.checked_mul(c)?, b.checked_mul(d)?)),
                    _ if c == 0 => None,
                    _ => Some((a.checked_mul(d)?, b.checked_mul(c)?)),
                });
                (text, value)
            })
        })
    }

    proptest! {
        #[test]
        fn any_expression_equals_the_fraction_that_it_is((text, value) in tree()) {
            if let Some((upper, lower)) = value {
                let found = evaluate(&text).unwrap();
                prop_assert_eq!(found.upper * i128::from(lower), i128::from(upper) * found.lower, "{}", text);
                prop_assert_eq!(common_divisor(found.upper, found.lower), 1);
                prop_assert!(found.lower > 0);
            }
        }

        #[test]
        fn no_text_breaks_it(text in r"[0-9+*/^%().,eE a-z−×-]{0,60}") {
            drop(answer(&text));
        }
    }
}
