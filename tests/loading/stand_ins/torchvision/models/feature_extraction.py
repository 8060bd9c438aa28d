def create_feature_extractor(*args, **kwargs):
    raise NotImplementedError


def get_graph_node_names(*args, **kwargs):
    raise NotImplementedError
