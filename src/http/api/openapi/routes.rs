//! The paths, methods and ids of all operations, for the layers around them.

use std::collections::HashMap;
use std::sync::LazyLock;

use poem::http::HeaderValue;
use poem_openapi::OpenApi;
use poem_openapi::registry::{MetaPath, Registry};

use crate::http::api::{Apis, docs};
use crate::http::wire::parameter_reason::Choices;

/// By poem's pattern of a path, what `Allow` says there. Paths outside of the document know only
/// GET.
pub fn allowed_methods() -> HashMap<String, HeaderValue> {
    let paths = Apis::meta().into_iter().flat_map(|api| api.paths);
    paths.map(|path| (poem_pattern(&path.path), allow(&path))).collect()
}

/// All paths, as the document and [`crate::http::api::docs`] have them.
pub fn paths() -> Vec<String> {
    let documented = Apis::meta().into_iter().flat_map(|api| api.paths).map(|path| path.path);
    documented.chain(docs::PATHS.map(str::to_owned)).collect()
}

/// By the name of each type that has a list of values, these. Found at the first refusal that asks,
/// once per process: no start need wait for it.
pub fn choices() -> &'static Choices {
    static CHOICES: LazyLock<Choices> = LazyLock::new(find_choices);
    &CHOICES
}

fn find_choices() -> Choices {
    let mut registry = Registry::new();
    Apis::register(&mut registry);
    let lists = registry.schemas.into_iter().filter(|(_, schema)| !schema.enum_items.is_empty());
    let text = |value: serde_json::Value| value.as_str().map(str::to_owned);
    let values = lists
        .map(|(name, schema)| (name, schema.enum_items.into_iter().filter_map(text).collect()));
    values.collect()
}

/// The paths of all documented operations, by their ids.
pub fn routes_by_operation() -> HashMap<String, String> {
    let paths = Apis::meta().into_iter().flat_map(|api| api.paths);
    let operations = paths.flat_map(|path| {
        let ids = path.operations.into_iter().filter_map(|operation| operation.operation_id);
        ids.map(move |id| (id.to_owned(), path.path.clone())).collect::<Vec<_>>()
    });
    operations.collect()
}

fn allow(path: &MetaPath) -> HeaderValue {
    let mut methods: Vec<&str> = path.operations.iter().map(|it| it.method.as_str()).collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.sort_unstable();
    HeaderValue::from_str(&methods.join(", ")).expect("methods are ASCII")
}

/// `/a/{name}` is `/a/:param0` to poem.
fn poem_pattern(path: &str) -> String {
    let mut params = 0;
    let segments = path.split('/').map(|segment| match segment.starts_with('{') {
        true => {
            params += 1;
            format!(":param{}", params - 1)
        }
        false => segment.to_owned(),
    });
    segments.collect::<Vec<_>>().join("/")
}
