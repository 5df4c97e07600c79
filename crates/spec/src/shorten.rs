//! The shortest spec of a method.
//!
//! A parameter is left out, at any depth, if the spec means the same without it, and a nested call without
//! parameters becomes a word. What "the same" is, the caller says by reading the shorter spec: this needs no
//! table of defaults, and what is printed reads back to the same method by construction.

use crate::value::{Call, Value, word};

/// Leaves out the droppable parameters of a call without which it is still the `same`.
pub(crate) fn shortest(call: &Call, droppable: fn(&Value) -> bool, same: &dyn Fn(&Call) -> bool) -> Call {
    let mut short = call.clone();
    for (key, value) in &call.args {
        let mut without = short.clone();
        without.args.shift_remove(key);
        if droppable(value) && same(&without) {
            short = without;
        } else {
            let value = shortest_value(value, droppable, &|value| same(&short.clone().with(key, value.clone())));
            short = short.with(key, value);
        }
    }
    short
}

/// A value shortened inside.
pub(crate) fn shortest_value(value: &Value, droppable: fn(&Value) -> bool, same: &dyn Fn(&Value) -> bool) -> Value {
    match value {
        Value::Call(call) => {
            let call = shortest(call, droppable, &|call| same(&Value::Call(call.clone())));
            let bare = word(&call.name);
            if call.args.is_empty() && same(&bare) { bare } else { Value::Call(call) }
        }
        Value::List(items) => {
            let mut short = items.clone();
            for (index, item) in items.iter().enumerate() {
                let with = |item: &Value| {
                    let mut list = short.clone();
                    list[index] = item.clone();
                    Value::List(list)
                };
                short[index] = shortest_value(item, droppable, &|item| same(&with(item)));
            }
            Value::List(short)
        }
        plain => plain.clone(),
    }
}
