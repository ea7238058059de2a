//! The words of Vega-Lite 6 that a specification is checked by (<https://vega.github.io/vega-lite/docs/>).

/// What a view can have, a whole specification included.
pub(super) const KEYS: &[&str] = &[
    "$schema", "align", "autosize", "background", "bounds", "center", "columns", "concat", "config", "data", "datasets",
    "description", "encoding", "facet", "hconcat", "height", "layer", "mark", "name", "padding", "params", "projection",
    "repeat", "resolve", "spacing", "spec", "title", "transform", "usermeta", "vconcat", "view", "width",
];

/// What makes an object a view: one of them.
pub(super) const COMPOSED: &[&str] = &["mark", "layer", "concat", "hconcat", "vconcat", "repeat", "facet"];

/// The marks.
pub(super) const MARKS: &[&str] = &[
    "arc", "area", "bar", "boxplot", "circle", "errorband", "errorbar", "geoshape", "image", "line", "point", "rect", "rule",
    "square", "text", "tick", "trail",
];

/// The channels of an encoding.
pub(super) const CHANNELS: &[&str] = &[
    "angle", "color", "column", "description", "detail", "facet", "fill", "fillOpacity", "href", "key", "latitude",
    "latitude2", "longitude", "longitude2", "opacity", "order", "radius", "radius2", "row", "shape", "size", "stroke",
    "strokeDash", "strokeOpacity", "strokeWidth", "text", "theta", "theta2", "time", "tooltip", "url", "x", "x2", "xError",
    "xError2", "xOffset", "y", "y2", "yError", "yError2", "yOffset",
];

/// The types of a channel.
pub(super) const TYPES: &[&str] = &["quantitative", "ordinal", "temporal", "nominal", "geojson"];

/// Transformations whose columns are not known from their `as` alone.
pub(super) const OPAQUE: &[&str] = &[
    "pivot", "flatten", "fold", "density", "quantile", "regression", "loess", "lookup", "bin", "stack", "timeUnit",
];
