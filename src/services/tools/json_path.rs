//! JSONPath as RFC 9535 has it, without functions, and with a bound on steps: a short query can otherwise ask for more work than there is time.

use serde_json::{Number, Value};

/// Values that a query may look at.
const STEPS_MAX: usize = 500_000;
/// How deep filters may stand in each other.
const DEPTH_MAX: u32 = 16;

/// A query that was read.
#[derive(Debug)]
pub(super) struct Path(Vec<Segment>);

#[derive(Debug)]
struct Segment {
    /// Of everything below as well.
    deep: bool,
    selectors: Vec<Selector>,
}

#[derive(Debug)]
enum Selector {
    Name(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>, i64),
    All,
    Filter(Test),
}

#[derive(Debug)]
enum Test {
    Either(Vec<Test>),
    Both(Vec<Test>),
    Not(Box<Test>),
    /// Something is there.
    Exists(Query),
    Compare(Operand, Order, Operand),
}

/// A query inside a filter: from the value that is looked at, or from the whole document.
#[derive(Debug)]
struct Query {
    from_root: bool,
    segments: Vec<Segment>,
}

#[derive(Debug)]
enum Operand {
    Literal(Value),
    /// Finds at most one value.
    Query(Query),
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// What is left of the steps.
struct Budget<'a> {
    root: &'a Value,
    left: usize,
}

type Found<'a> = Vec<&'a Value>;

impl Path {
    /// # Errors
    /// What is wrong with it, and where.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let mut reader = Reader {
            all: query,
            rest: query,
            depth: 0,
        };
        if !reader.take("$") {
            return Err("a query begins with $".to_owned());
        }
        let segments = reader.segments()?;
        reader.space();
        if reader.rest.is_empty() {
            Ok(Self(segments))
        } else {
            Err(reader.wrong())
        }
    }

    /// # Errors
    /// It asks for too much.
    pub(super) fn find<'a>(&self, root: &'a Value) -> Result<Found<'a>, String> {
        Budget { root, left: STEPS_MAX }.follow(&self.0, root)
    }
}

impl<'a> Budget<'a> {
    fn step(&mut self) -> Result<(), String> {
        self.take(1)
    }

    fn take(&mut self, steps: usize) -> Result<(), String> {
        self.left = self
            .left
            .checked_sub(steps)
            .ok_or_else(|| format!("the query looks at more than {STEPS_MAX} values; make it narrower"))?;
        Ok(())
    }

    fn follow(&mut self, segments: &[Segment], from: &'a Value) -> Result<Found<'a>, String> {
        let mut found = vec![from];
        for segment in segments {
            let mut next = Vec::new();
            for value in found {
                self.select(segment, value, &mut next)?;
            }
            found = next;
        }
        Ok(found)
    }

    fn select(&mut self, segment: &Segment, value: &'a Value, found: &mut Found<'a>) -> Result<(), String> {
        self.step()?;
        for selector in &segment.selectors {
            self.apply(selector, value, found)?;
        }
        if segment.deep {
            for child in children(value) {
                // As deep as the document was allowed to be when it was read.
                self.select(segment, child, found)?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, selector: &Selector, value: &'a Value, found: &mut Found<'a>) -> Result<(), String> {
        self.step()?;
        match selector {
            Selector::Name(name) => found.extend(value.as_object().and_then(|object| object.get(name))),
            Selector::Index(index) => {
                let at = value
                    .as_array()
                    .and_then(|array| place(*index, array.len()).and_then(|at| array.get(at)));
                found.extend(at);
            }
            Selector::Slice(start, end, step) => {
                for at in value
                    .as_array()
                    .map(|array| slice(array.len(), *start, *end, *step))
                    .unwrap_or_default()
                {
                    self.step()?;
                    found.extend(value.get(at));
                }
            }
            Selector::All => {
                for child in children(value) {
                    self.step()?;
                    found.push(child);
                }
            }
            Selector::Filter(test) => {
                for child in children(value) {
                    self.step()?;
                    if self.holds(test, child)? {
                        found.push(child);
                    }
                }
            }
        }
        Ok(())
    }

    fn holds(&mut self, test: &Test, here: &'a Value) -> Result<bool, String> {
        self.step()?;
        Ok(match test {
            Test::Either(tests) => {
                for test in tests {
                    if self.holds(test, here)? {
                        return Ok(true);
                    }
                }
                false
            }
            Test::Both(tests) => {
                for test in tests {
                    if !self.holds(test, here)? {
                        return Ok(false);
                    }
                }
                true
            }
            Test::Not(test) => !self.holds(test, here)?,
            Test::Exists(query) => !self.ask(query, here)?.is_empty(),
            Test::Compare(left, order, right) => {
                let (left, right) = (self.value(left, here)?, self.value(right, here)?);
                // Two lists are compared value by value.
                self.take(left.map_or(0, size))?;
                compare(left, *order, right)
            }
        })
    }

    fn ask(&mut self, query: &Query, here: &'a Value) -> Result<Found<'a>, String> {
        let from = if query.from_root { self.root } else { here };
        self.follow(&query.segments, from)
    }

    fn value<'o>(&mut self, operand: &'o Operand, here: &'a Value) -> Result<Option<&'o Value>, String>
    where
        'a: 'o,
    {
        match operand {
            Operand::Literal(value) => Ok(Some(value)),
            Operand::Query(query) => Ok(self.ask(query, here)?.first().copied()),
        }
    }
}

/// The values in a list or object, at every depth.
fn size(value: &Value) -> usize {
    children(value).into_iter().map(|child| 1 + size(child)).sum()
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(array) => array.iter().collect(),
        Value::Object(object) => object.values().collect(),
        _ => Vec::new(),
    }
}

fn place(index: i64, length: usize) -> Option<usize> {
    if index < 0 {
        length.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)
    } else {
        usize::try_from(index).ok()
    }
}

/// The places of a slice, as RFC 9535 § 2.3.4 has them.
fn slice(length: usize, start: Option<i64>, end: Option<i64>, step: i64) -> Vec<usize> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let normal = |index: i64| if index >= 0 { index } else { length.saturating_add(index) };
    let mut places = Vec::new();
    if step > 0 {
        let (mut at, end) = (
            normal(start.unwrap_or(0)).clamp(0, length),
            normal(end.unwrap_or(length)).clamp(0, length),
        );
        while at < end {
            places.extend(usize::try_from(at));
            at = at.saturating_add(step);
        }
    } else if step < 0 {
        let mut at = start.map_or(length - 1, normal).clamp(-1, length - 1);
        let end = end.map_or(-1, |end| normal(end).clamp(-1, length - 1));
        while at > end {
            places.extend(usize::try_from(at));
            at = at.saturating_add(step);
        }
    }
    places
}

fn compare(left: Option<&Value>, order: Order, right: Option<&Value>) -> bool {
    let equal = || match (left, right) {
        (None, None) => true,
        (Some(Value::Number(a)), Some(Value::Number(b))) => number_order(a, b) == Some(std::cmp::Ordering::Equal),
        (Some(a), Some(b)) => a == b,
        _ => false,
    };
    let ordered = || match (left?, right?) {
        (Value::Number(a), Value::Number(b)) => number_order(a, b),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    };
    match order {
        Order::Equal => equal(),
        Order::Unequal => !equal(),
        Order::Less => ordered().is_some_and(std::cmp::Ordering::is_lt),
        Order::More => ordered().is_some_and(std::cmp::Ordering::is_gt),
        Order::AtMost => ordered().is_some_and(std::cmp::Ordering::is_lt) || equal(),
        Order::AtLeast => ordered().is_some_and(std::cmp::Ordering::is_gt) || equal(),
    }
}

fn number_order(a: &Number, b: &Number) -> Option<std::cmp::Ordering> {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

struct Reader<'q> {
    all: &'q str,
    rest: &'q str,
    depth: u32,
}

impl Reader<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn take(&mut self, wanted: &str) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn wrong(&self) -> String {
        let read = self.all.get(..self.all.len() - self.rest.len()).unwrap_or_default().chars().count();
        match self.rest.chars().next() {
            Some(c) => format!("“{c}” does not belong at character {}", read + 1),
            None => "it ends too early".to_owned(),
        }
    }

    fn segments(&mut self) -> Result<Vec<Segment>, String> {
        let mut segments = Vec::new();
        loop {
            let before = self.rest;
            self.space();
            let deep = self.take("..");
            let selectors = if deep && self.rest.starts_with('[') || !deep && self.rest.starts_with('[') {
                self.take("[");
                self.bracket()?
            } else if deep || self.take(".") {
                vec![if self.take("*") {
                    Selector::All
                } else {
                    Selector::Name(self.name()?)
                }]
            } else {
                self.rest = before;
                return Ok(segments);
            };
            segments.push(Segment { deep, selectors });
        }
    }

    fn name(&mut self) -> Result<String, String> {
        let belongs = |c: char| c.is_ascii_alphanumeric() || c == '_' || c as u32 >= 0x80;
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.wrong());
        }
        self.rest = rest;
        Ok(name.to_owned())
    }

    fn bracket(&mut self) -> Result<Vec<Selector>, String> {
        let mut selectors = Vec::new();
        loop {
            self.space();
            selectors.push(self.selector()?);
            self.space();
            if self.take("]") {
                return Ok(selectors);
            }
            if !self.take(",") {
                return Err(self.wrong());
            }
        }
    }

    fn selector(&mut self) -> Result<Selector, String> {
        if self.take("*") {
            return Ok(Selector::All);
        }
        if self.rest.starts_with(['\'', '"']) {
            return Ok(Selector::Name(self.text()?));
        }
        if self.take("?") {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err(format!("filters are nested deeper than {DEPTH_MAX}"));
            }
            let test = self.either()?;
            self.depth -= 1;
            return Ok(Selector::Filter(test));
        }
        let start = self.integer()?;
        self.space();
        if !self.take(":") {
            return start.map(Selector::Index).ok_or_else(|| self.wrong());
        }
        self.space();
        let end = self.integer()?;
        self.space();
        let step = if self.take(":") {
            self.space();
            self.integer()?.unwrap_or(1)
        } else {
            1
        };
        Ok(Selector::Slice(start, end, step))
    }

    fn integer(&mut self) -> Result<Option<i64>, String> {
        let sign = usize::from(self.rest.starts_with('-'));
        let digits = self.rest.bytes().skip(sign).take_while(u8::is_ascii_digit).count();
        let (text, rest) = self.rest.split_at(if digits == 0 { 0 } else { sign + digits });
        if text.is_empty() {
            return if sign == 0 { Ok(None) } else { Err(self.wrong()) };
        }
        let number = text.parse().map_err(|_| format!("{text} is too large"))?;
        self.rest = rest;
        Ok(Some(number))
    }

    /// A quoted text with its escapes.
    fn text(&mut self) -> Result<String, String> {
        let quote = self.rest.chars().next().unwrap_or('"');
        let mut json = String::from("\"");
        let mut escaped = false;
        for (at, c) in self.rest.char_indices().skip(1) {
            match (escaped, c) {
                (true, '\'') => json.push('\''),
                (true, c) => json.extend(['\\', c]),
                (false, '\\') => {}
                (false, c) if c == quote => {
                    json.push('"');
                    let text = serde_json::from_str(&json).map_err(|_| "a quoted text holds what it may not".to_owned())?;
                    self.rest = self.rest.get(at + quote.len_utf8()..).unwrap_or_default();
                    return Ok(text);
                }
                (false, '"') => json.push_str("\\\""),
                (false, c) => json.push(c),
            }
            escaped = !escaped && c == '\\';
        }
        Err("a quoted text is not closed".to_owned())
    }

    fn either(&mut self) -> Result<Test, String> {
        let mut tests = vec![self.both()?];
        while self.operator("||") {
            tests.push(self.both()?);
        }
        Ok(Test::Either(tests))
    }

    fn both(&mut self) -> Result<Test, String> {
        let mut tests = vec![self.test()?];
        while self.operator("&&") {
            tests.push(self.test()?);
        }
        Ok(Test::Both(tests))
    }

    fn operator(&mut self, wanted: &str) -> bool {
        self.space();
        self.take(wanted)
    }

    fn test(&mut self) -> Result<Test, String> {
        self.space();
        if self.take("!") {
            self.deeper()?;
            let test = self.test()?;
            self.depth -= 1;
            return Ok(Test::Not(Box::new(test)));
        }
        if self.take("(") {
            self.deeper()?;
            let test = self.either()?;
            self.depth -= 1;
            self.space();
            return if self.take(")") { Ok(test) } else { Err(self.wrong()) };
        }
        let left = self.operand()?;
        self.space();
        let order = [
            ("==", Order::Equal),
            ("!=", Order::Unequal),
            ("<=", Order::AtMost),
            (">=", Order::AtLeast),
            ("<", Order::Less),
            (">", Order::More),
        ]
        .into_iter()
        .find(|(sign, _)| self.take(sign));
        let Some((_, order)) = order else {
            return match left {
                Operand::Query(query) => Ok(Test::Exists(query)),
                Operand::Literal(_) => Err("a value alone is no test; compare it with something".to_owned()),
            };
        };
        self.space();
        let right = self.operand()?;
        for operand in [&left, &right] {
            if let Operand::Query(query) = operand
                && !query.segments.iter().all(is_single)
            {
                return Err("only a query for one value can be compared, such as @.price".to_owned());
            }
        }
        Ok(Test::Compare(left, order, right))
    }

    fn deeper(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("tests are nested deeper than {DEPTH_MAX}"));
        }
        Ok(())
    }

    fn operand(&mut self) -> Result<Operand, String> {
        for (sign, from_root) in [("@", false), ("$", true)] {
            if self.take(sign) {
                let segments = self.segments()?;
                return Ok(Operand::Query(Query { from_root, segments }));
            }
        }
        if self.rest.starts_with(['\'', '"']) {
            return Ok(Operand::Literal(Value::String(self.text()?)));
        }
        let belongs = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.');
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let literal = match word {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            number => match serde_json::from_str::<Number>(number) {
                Ok(number) => Value::Number(number),
                Err(_) if rest.starts_with('(') => return Err(format!("functions such as {word}(…) are not known here")),
                Err(_) => return Err(self.wrong()),
            },
        };
        self.rest = rest;
        Ok(Operand::Literal(literal))
    }
}

/// Whether a segment finds at most one value.
fn is_single(segment: &Segment) -> bool {
    !segment.deep && matches!(segment.selectors.as_slice(), [Selector::Name(_) | Selector::Index(_)])
}

#[cfg(test)]
mod tests;
