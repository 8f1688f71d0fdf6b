//! DescribeConfigs: what was set for topics.

use kafka_protocol::messages::DescribeConfigsResponse;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};

use super::text;
use crate::target::cluster::Cluster;
use crate::target::code;
use crate::target::request::{DescribeConfigs, Described};

/// The number of topics among the kinds of things that have a configuration.
const TOPIC: i8 = 2;

pub(super) fn answer(cluster: &Cluster, asked: &DescribeConfigs) -> DescribeConfigsResponse {
    let results = asked.resources.iter().map(|r| result(cluster, r)).collect();
    DescribeConfigsResponse::default().with_results(results)
}

fn result(cluster: &Cluster, asked: &Described) -> DescribeConfigsResult {
    let result =
        DescribeConfigsResult::default().with_resource_type(asked.kind).with_resource_name(text(&asked.name));
    let Some(topic) = cluster.topics.get(&asked.name).filter(|_| asked.kind == TOPIC) else {
        return result.with_error_code(code::UNKNOWN_TOPIC_OR_PARTITION);
    };
    let wanted = |key: &String| asked.keys.as_ref().is_none_or(|keys| keys.contains(key));
    let rows = topic.settings().into_iter().filter(|(key, _)| wanted(key)).map(|(key, value)| {
        DescribeConfigsResourceResult::default().with_name(text(&key)).with_value(Some(text(&value)))
    });
    result.with_configs(rows.collect())
}
