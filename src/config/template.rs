//! `route.topic`: a fixed name, or text with `{stream}` in it.

use crate::ids::{NameError, StreamName, TopicName};

use super::model::TopicTemplate;

/// Why a topic's text was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// `{.field}`: a part of the event.
    #[error("topics named by a field of the event (\"{{.{0}}}\") are not in this version")]
    Field(String),
    /// `{something}`.
    #[error("\"{{{0}}}\" is not known in a topic; \"{{stream}}\" is")]
    Unknown(String),
    /// A `{` without its `}`, or the other way round.
    #[error("a \"{{\" or \"}}\" stands alone")]
    Brace,
    /// It could never be a topic's name.
    #[error("it can't name a Kafka topic: {0}")]
    Name(#[from] NameError),
}

impl TopicTemplate {
    /// Topic = stream name.
    #[must_use]
    pub fn stream() -> Self {
        TopicTemplate::Stream(vec![String::new(), String::new()])
    }

    /// Reads `route.topic`.
    ///
    /// # Errors
    /// [`TemplateError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = vec![];
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (inner, behind) = after.split_once('}').ok_or(TemplateError::Brace)?;
            match inner.strip_prefix('.') {
                Some(field) => return Err(TemplateError::Field(field.to_owned())),
                None if inner != "stream" => return Err(TemplateError::Unknown(inner.to_owned())),
                None => parts.push(before.to_owned()),
            }
            rest = behind;
        }
        parts.push(rest.to_owned());
        if parts.iter().any(|part| part.contains('}')) {
            return Err(TemplateError::Brace);
        }
        let template = if parts.len() == 1 {
            TopicTemplate::Fixed(TopicName::new(text)?)
        } else {
            TopicTemplate::Stream(parts)
        };
        // The shortest stream there is shows what is wrong with the fixed part.
        if let TopicTemplate::Stream(parts) = &template {
            TopicName::new(&parts.join("x"))?;
        }
        Ok(template)
    }

    /// The topic of a stream.
    ///
    /// # Errors
    /// [`NameError::TooLong`] when the stream's name makes the topic's longer than Kafka allows.
    pub fn topic(&self, stream: &StreamName) -> Result<TopicName, NameError> {
        match self {
            TopicTemplate::Fixed(topic) => Ok(topic.clone()),
            TopicTemplate::Stream(parts) => TopicName::new(&parts.join(stream.as_str())),
        }
    }
}

impl std::fmt::Display for TopicTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TopicTemplate::Fixed(topic) => topic.fmt(f),
            TopicTemplate::Stream(parts) => f.write_str(&parts.join("{stream}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(template: &str, stream: &str) -> String {
        let stream = StreamName::new(stream).unwrap();
        TopicTemplate::parse(template).unwrap().topic(&stream).unwrap().to_string()
    }

    #[test]
    fn the_stream_goes_wherever_the_template_names_it() {
        assert_eq!(topic("fixed", "orders"), "fixed");
        assert_eq!(topic("{stream}", "orders"), "orders");
        assert_eq!(topic("a-{stream}.b.{stream}", "x"), "a-x.b.x");
    }

    #[test]
    fn what_is_not_a_template_is_refused_with_the_reason() {
        let error = |text: &str| TopicTemplate::parse(text).unwrap_err();
        assert_eq!(error("app-{.service}"), TemplateError::Field("service".into()));
        assert_eq!(error("{topic}"), TemplateError::Unknown("topic".into()));
        assert_eq!(error("a{stream"), TemplateError::Brace);
        assert_eq!(error("a}b{stream}"), TemplateError::Brace);
        assert_eq!(error(""), TemplateError::Name(NameError::Empty));
        assert_eq!(error("my topic"), TemplateError::Name(NameError::Character(' ')));
        assert_eq!(error("a/{stream}"), TemplateError::Name(NameError::Character('/')));
    }

    #[test]
    fn a_stream_too_long_for_its_topic_is_an_error_not_a_cut_name() {
        let stream = StreamName::new(&"x".repeat(249)).unwrap();
        let template = TopicTemplate::parse("p-{stream}").unwrap();
        assert_eq!(template.topic(&stream), Err(NameError::TooLong(251)));
    }

    #[test]
    fn a_template_prints_as_it_was_written() {
        for text in ["fixed", "{stream}", "a-{stream}.b{stream}c"] {
            assert_eq!(TopicTemplate::parse(text).unwrap().to_string(), text);
        }
    }
}
