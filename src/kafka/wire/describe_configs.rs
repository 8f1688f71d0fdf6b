//! DescribeConfigs, versions 1 to 3, for topics.

use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::protocol::StrBytes;

use super::{Cursor, Request, WireError};

/// The number of topics among the kinds of things that have a configuration.
const TOPIC: i8 = 2;

/// Asks for the values of `keys` of each topic. A key that the broker does not know is left out of the answer.
#[must_use]
pub fn describe_configs_request<'a>(
    client_id: &str,
    version: i16,
    topics: impl IntoIterator<Item = &'a str>,
    keys: &[&'static str],
) -> Request {
    let keys: Vec<_> = keys.iter().map(|key| StrBytes::from_static_str(key)).collect();
    let resource = |name: &str| {
        DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(StrBytes::from_string(name.to_owned()))
            .with_configuration_keys(Some(keys.clone()))
    };
    let message =
        DescribeConfigsRequest::default().with_resources(topics.into_iter().map(resource).collect());
    Request::new(client_id, version, &message)
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigsAnswer {
    /// Wait this long before the next request on the connection.
    pub throttle_ms: i32,
    /// What was asked for.
    pub topics: Vec<ConfigRow>,
}

/// A topic's configuration, as far as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigRow {
    /// 0, or why there is nothing to say.
    pub code: i16,
    /// The topic's name.
    pub name: String,
    /// Keys and their values.
    pub values: Vec<(String, Option<String>)>,
}

impl ConfigsAnswer {
    /// Reads an answer of `version` (1 to 3).
    ///
    /// # Errors
    /// [`WireError`]
    pub fn decode(bytes: &[u8], version: i16) -> Result<Self, WireError> {
        let mut c = Cursor::new(bytes);
        let throttle_ms = c.i32()?;
        let mut topics = Vec::new();
        for _ in 0..c.array(false, 11)? {
            let code = c.i16()?;
            c.nullable_string(false)?;
            c.i8()?;
            let name = c.string(false)?.to_owned();
            let mut values = Vec::new();
            for _ in 0..c.array(false, 11)? {
                values.push(value(&mut c, version)?);
            }
            topics.push(ConfigRow { code, name, values });
        }
        Ok(Self { throttle_ms, topics })
    }
}

fn value(c: &mut Cursor<'_>, version: i16) -> Result<(String, Option<String>), WireError> {
    let key = c.string(false)?.to_owned();
    let value = c.nullable_string(false)?.map(str::to_owned);
    let (_read_only, _source, _is_sensitive) = (c.bool()?, c.i8()?, c.bool()?);
    for _synonym in 0..c.array(false, 5)? {
        c.string(false)?;
        c.nullable_string(false)?;
        c.i8()?;
    }
    if version >= 3 {
        c.i8()?;
        c.nullable_string(false)?;
    }
    Ok((key, value))
}
